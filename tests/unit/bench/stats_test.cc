#include <gtest/gtest.h>

#include <cmath>
#include <vector>

extern "C" {
#include "bench/stats.h"
}

namespace {

TEST(Stats, TheMedianLiesInTheMiddle)
{
    const double odd[] = {5, 1, 9}, even[] = {4, 1, 3, 2};

    EXPECT_EQ(stats_median(odd, 3), 5);
    EXPECT_EQ(stats_median(even, 4), 2.5);
    EXPECT_EQ(stats_least(odd, 3), 1);
    EXPECT_EQ(stats_most(odd, 3), 9);
}

TEST(Stats, AQuantileLiesBetweenItsNeighbours)
{
    const double values[] = {10, 20, 30, 40, 50};

    EXPECT_EQ(stats_quantile(values, 5, 0.25), 20);
    EXPECT_DOUBLE_EQ(stats_quantile(values, 5, 0.9), 46);
}

TEST(Stats, SortsAnyNumber)
{
    std::vector<double> values(2 * STATS_SAMPLES_MAX);

    for (size_t i = 0; i < values.size(); i++)
        values[i] = static_cast<double>((i * 37) % values.size());
    stats_sort(values.data(), values.size());
    EXPECT_EQ(stats_sorted_quantile(values.data(), values.size(), 1), static_cast<double>(values.size() - 1));
    EXPECT_EQ(stats_sorted_quantile(values.data(), values.size(), 0), 0);
}

TEST(Stats, NothingSaysNothing)
{
    const double one[] = {1};

    EXPECT_TRUE(std::isnan(stats_median(nullptr, 0)));
    EXPECT_TRUE(std::isnan(stats_ratio_of(one, 1, nullptr, 0).ratio));
    EXPECT_TRUE(std::isnan(stats_ratio_of(nullptr, 0, one, 1).low));
}

TEST(Stats, OfOneSampleEachTheRatioIsAPoint)
{
    const double a[] = {2}, b[] = {3};
    stats_ratio found = stats_ratio_of(a, 1, b, 1);

    EXPECT_EQ(found.ratio, 1.5);
    EXPECT_EQ(found.low, 1.5);
    EXPECT_EQ(found.high, 1.5);
}

TEST(Stats, TheIntervalHoldsTheRatioAndNarrowsWithTheSpread)
{
    const double a[] = {100, 101, 99, 100, 102}, near_b[] = {200, 201, 199, 202, 198};
    const double far_b[] = {150, 250, 200, 170, 230};
    stats_ratio sure = stats_ratio_of(a, 5, near_b, 5), unsure = stats_ratio_of(a, 5, far_b, 5);

    EXPECT_EQ(sure.ratio, 2);
    EXPECT_LE(sure.low, 2);
    EXPECT_GE(sure.high, 2);
    EXPECT_LT(sure.high - sure.low, 0.1);
    EXPECT_GT(unsure.high - unsure.low, 0.3);
}

TEST(Stats, NothingOverNothingIsAsMuch)
{
    const double nothing[] = {0, 0}, some[] = {1, 2}, mixed[] = {0, 3, 0, 3};

    EXPECT_EQ(stats_ratio_of(nothing, 2, nothing, 2).low, 1);
    EXPECT_TRUE(std::isinf(stats_ratio_of(nothing, 2, some, 2).low));
    EXPECT_EQ(stats_ratio_of(some, 2, nothing, 2).high, 0);
    EXPECT_FALSE(std::isnan(stats_ratio_of(mixed, 4, mixed, 4).low));
    EXPECT_FALSE(std::isnan(stats_ratio_of(mixed, 4, mixed, 4).high));
}

TEST(Stats, ARatioOfRatiosIsAsUnsureAsItsReferences)
{
    const stats_samples figure = {{100, 101, 102}, 3}, sure = {{50, 50, 50}, 3}, unsure = {{25, 50, 100}, 3};
    stats_ratio near = stats_ratio_of_ratios(&figure, &sure, &figure, &sure);
    stats_ratio wide = stats_ratio_of_ratios(&figure, &sure, &figure, &unsure);

    EXPECT_EQ(near.ratio, 1);
    EXPECT_LT(near.high - near.low, 0.05);
    EXPECT_EQ(wide.ratio, 1);
    EXPECT_LT(wide.low, 0.6);
    EXPECT_GT(wide.high, 1.9);
}

TEST(Stats, TheSameSamplesGiveTheSameInterval)
{
    const double a[] = {1, 2, 3, 4}, b[] = {2, 3, 5, 7};
    stats_ratio first = stats_ratio_of(a, 4, b, 4), second = stats_ratio_of(a, 4, b, 4);

    EXPECT_EQ(first.low, second.low);
    EXPECT_EQ(first.high, second.high);
}

} // namespace
