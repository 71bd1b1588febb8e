extern "C" {
#include "bench/histogram.h"
}

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace {

std::unique_ptr<histogram> empty()
{
    return std::make_unique<histogram>();
}

TEST(Histogram, IsZeroWhileItIsEmpty)
{
    auto counts = empty();
    EXPECT_EQ(histogram_percentile(counts.get(), 0.5), 0u);
    EXPECT_EQ(counts->most, 0u);
}

TEST(Histogram, IsExactForSmallValues)
{
    for (uint64_t value = 0; value < 256; value++) {
        auto counts = empty();
        histogram_add(counts.get(), value);
        histogram_add(counts.get(), 1000000); /* so that it is not the largest that answers */
        EXPECT_EQ(histogram_percentile(counts.get(), 0.5), value);
    }
}

TEST(Histogram, IsOffByLessThanAHundredthForLargeOnes)
{
    std::mt19937_64 random(1);
    for (int i = 0; i < 100000; i++) {
        uint64_t value = random() >> (24 + random() % 40);
        auto counts = empty();
        histogram_add(counts.get(), value);
        counts->most = UINT64_MAX;
        double told = static_cast<double>(histogram_percentile(counts.get(), 0.5));
        ASSERT_NEAR(told, static_cast<double>(value), static_cast<double>(value) * 0.004);
    }
}

TEST(Histogram, TellsPercentilesOfManyValues)
{
    std::mt19937_64 random(2);
    std::vector<uint64_t> values;
    auto counts = empty();
    for (int i = 0; i < 20000; i++) {
        values.push_back(20000 + random() % 1000000);
        histogram_add(counts.get(), values.back());
    }
    std::sort(values.begin(), values.end());
    for (double part : {0.001, 0.5, 0.9, 0.99, 0.999}) {
        double value = static_cast<double>(values[static_cast<size_t>(part * 20000 + 0.5) - 1]);
        EXPECT_NEAR(static_cast<double>(histogram_percentile(counts.get(), part)), value, value * 0.004) << part;
    }
    EXPECT_EQ(histogram_percentile(counts.get(), 1), values.back());
    EXPECT_EQ(counts->most, values.back());
}

TEST(Histogram, CountsWhatIsTooLargeAsTheLargest)
{
    auto counts = empty();
    histogram_add(counts.get(), UINT64_MAX);
    EXPECT_EQ(histogram_percentile(counts.get(), 1), (UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1);
}

TEST(Histogram, IsTheSameWhenItWasCountedInTwo)
{
    auto whole = empty(), one = empty(), two = empty();
    for (uint64_t value = 1; value < 100000; value += 7) {
        histogram_add(whole.get(), value);
        histogram_add(value % 2 ? one.get() : two.get(), value);
    }
    histogram_merge(one.get(), two.get());
    EXPECT_EQ(one->count, whole->count);
    EXPECT_EQ(one->most, whole->most);
    for (double part : {0.0, 0.1, 0.5, 0.9, 0.999, 1.0})
        EXPECT_EQ(histogram_percentile(one.get(), part), histogram_percentile(whole.get(), part));
}

} // namespace
