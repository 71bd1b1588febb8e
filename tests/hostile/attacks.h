#ifndef TESTS_HOSTILE_ATTACKS_H
#define TESTS_HOSTILE_ATTACKS_H

#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <ostream>
#include <tuple>
#include <vector>

/* Attacks in tables: what is done, from which stage on, and what must come of it. */

enum class Outcome {
    ENDS,    /* the connection ends, and soon */
    GOAWAY_, /* a GoAway that says protocol error, then the end */
    LIMIT,   /* a GoAway that says resource limit, then the end */
    LIVES,   /* it is tolerated: the connection still answers */
};

struct Attack {
    const char *name;
    Stage stage;
    Outcome outcome;
    void (*run)(Attacker &attacker);
};

inline std::ostream &operator<<(std::ostream &out, const Attack &attack)
{
    return out << attack.name;
}

using AttackParam = std::tuple<Driver, Attack>;

inline std::string attack_name(const testing::TestParamInfo<AttackParam> &info)
{
    return std::string(std::get<1>(info.param).name) + "_" + driver_name(std::get<0>(info.param));
}

inline void expect_outcome(Attacker &attacker, Outcome outcome)
{
    switch (outcome) {
    case Outcome::ENDS:
        break;
    case Outcome::GOAWAY_:
        EXPECT_EQ(attacker.goaway(), GOAWAY_PROTOCOL);
        break;
    case Outcome::LIMIT:
        EXPECT_EQ(attacker.goaway(), 0x1001);
        break;
    case Outcome::LIVES:
        EXPECT_TRUE(attacker.pings());
        return;
    }
    EXPECT_NE(attacker.ending(), Ending::OPEN);
}

/* One attack, and then a good peer finds all as it was. */
class Hostile : public testing::TestWithParam<AttackParam>
{
protected:
    void attack()
    {
        const Attack &attack = std::get<1>(GetParam());
        Victim &victim = Victim::shared(std::get<0>(GetParam()));
        good_peer_is_served(victim);
        Inventory before(victim);
        {
            Attacker attacker(victim.port);
            ASSERT_TRUE(attacker.reach(attack.stage));
            attack.run(attacker);
            expect_outcome(attacker, attack.outcome);
        }
        good_peer_is_served(victim);
        before.settles();
    }
};

#endif
