#include <gtest/gtest.h>

extern "C" {
#include "actors/local.h"
}

namespace {

/* The walk over the heap that gives back what handshakes left: seldom, and never while
 * there are more of them. */

void review(struct local *local, unsigned connections, bool youngest)
{
    while (connections-- > 0)
        local_reviewed(local, youngest);
}

TEST(Trim, WaitsForMany)
{
    struct local local = {};
    review(&local, LOCAL_TRIM_CONNECTIONS - 1, true);
    EXPECT_EQ(local.reviewed, LOCAL_TRIM_CONNECTIONS - 1u);
    review(&local, 1, true);
    EXPECT_EQ(local.reviewed, 0u);
}

TEST(Trim, WaitsForTheYoungest)
{
    struct local local = {};
    review(&local, 10 * LOCAL_TRIM_CONNECTIONS, false);
    EXPECT_EQ(local.reviewed, 10u * LOCAL_TRIM_CONNECTIONS);
    review(&local, 1, true);
    EXPECT_EQ(local.reviewed, 0u);
}

TEST(Trim, WaitsForTheEndOfHandshakes)
{
    struct local local = {};
    char one;
    local.handshakes = reinterpret_cast<struct session_handshake *>(&one); /* nobody looks inside */
    review(&local, LOCAL_TRIM_CONNECTIONS, true);
    EXPECT_EQ(local.reviewed, LOCAL_TRIM_CONNECTIONS + 0u);
    local.handshakes = nullptr;
    review(&local, 1, true);
    EXPECT_EQ(local.reviewed, 0u);
}

} // namespace
