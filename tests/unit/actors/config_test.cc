#include <gtest/gtest.h>

#include <cstring>
#include <string>

extern "C" {
#include "actors/config.h"
}

namespace {

struct ConfigTest : testing::Test {
    struct p2p_config *config = p2p_config_new();
    struct p2p_error_text text = {};

    ~ConfigTest() override { p2p_config_free(config); }
};

TEST_F(ConfigTest, HasTheDefaultsOfTheHeader)
{
    ASSERT_EQ(config->listen_count, 2u);
    EXPECT_STREQ(config->listen[0], "/ip4/0.0.0.0/tcp/3333");
    EXPECT_STREQ(config->listen[1], "/ip6/::/tcp/3333");
    EXPECT_FALSE(config->listen_set);
    EXPECT_STREQ(config->network_id, "CHORUS-network");
    EXPECT_EQ(std::string(config->agent_version), std::string("chorus-p2p/") + p2p_version());
    EXPECT_EQ(config->connections_max, 50u);
    EXPECT_EQ(config->pending_handshakes_max, 128u);
    EXPECT_EQ(config->streams_max, 448u);
    EXPECT_EQ(config->connection_timeout_ms, 30000u);
    EXPECT_EQ(config->status_interval_ms, 30000u);
    EXPECT_TRUE(config->security);
    EXPECT_FALSE(config->serve_echo);
    EXPECT_FALSE(config->serve_perf);
    EXPECT_EQ(config->log_write, nullptr);
    EXPECT_EQ(config->identity, nullptr);
}

TEST_F(ConfigTest, TheFirstListeningAddressReplacesTheDefaultsAndOthersAdd)
{
    EXPECT_EQ(p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", &text), 0);
    EXPECT_EQ(p2p_config_listen(config, "/ip6/::1/tcp/4001", &text), 0);
    EXPECT_EQ(p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", &text), 0); /* another free port */
    ASSERT_EQ(config->listen_count, 3u);
    EXPECT_STREQ(config->listen[1], "/ip6/::1/tcp/4001");
    EXPECT_EQ(p2p_config_listen(config, "/ip6/::1/tcp/4001", &text), P2P_ERR_CALL_EXISTS);
    EXPECT_EQ(p2p_config_listen(config, nullptr, &text), 0);
    EXPECT_EQ(config->listen_count, 0u);
    EXPECT_TRUE(config->listen_set);
}

TEST_F(ConfigTest, SaysWhatIsWrongWithAListeningAddress)
{
    const struct { const char *address; int error; const char *hint; } cases[] = {
        {"/ip4/300.0.0.1/tcp/1", P2P_ERR_CALL_MALFORMED, "ip4"},
        {"127.0.0.1:3333", P2P_ERR_CALL_MALFORMED, "/"},
        {"/ip4/127.0.0.1/udp/1/quic-v1", P2P_ERR_CALL_UNSUPPORTED, "/tcp/"},
        {"/dns4/localhost/tcp/1", P2P_ERR_CALL_UNSUPPORTED, "/ip4/"},
        {"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", P2P_ERR_CALL_UNSUPPORTED,
         "leave it out"},
    };
    for (const auto &each : cases) {
        EXPECT_EQ(p2p_config_listen(config, each.address, &text), each.error) << each.address;
        EXPECT_NE(std::string(text.text).find(each.hint), std::string::npos) << text.text;
    }
    EXPECT_EQ(config->listen_count, 2u);
    EXPECT_FALSE(config->listen_set);
}

TEST_F(ConfigTest, HasABoundOfListeningAddresses)
{
    for (int i = 0; i < P2P_LISTEN_ADDRESSES_MAX; i++)
        EXPECT_EQ(p2p_config_listen(config, ("/ip4/127.0.0.1/tcp/" + std::to_string(i + 1)).c_str(), &text), 0);
    EXPECT_EQ(p2p_config_listen(config, "/ip4/127.0.0.1/tcp/5000", &text), P2P_ERR_CALL_FULL);
    EXPECT_NE(std::string(text.text).find("16"), std::string::npos) << text.text;
}

TEST_F(ConfigTest, TakesAKeyThatIsOne)
{
    uint8_t key[KEY_PRIVATE_BYTES_MAX];
    size_t length = sizeof(key);
    ASSERT_EQ(p2p_key_generate(key, &length, P2P_KEY_ED25519, 0), 0);
    EXPECT_EQ(p2p_config_identity(config, key, length), 0);
    EXPECT_EQ(config->identity_length, length);
    EXPECT_EQ(p2p_config_identity(config, key, length - 1), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(p2p_config_identity(config, nullptr, 0), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(config->identity_length, length);
}

TEST_F(ConfigTest, RefusesSettingsThatCannotHold)
{
    EXPECT_EQ(p2p_config_connection_timeout_ms(config, 0), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_max_dials(config, 0), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_pending_handshakes(config, 0), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_connection_memory(config, 1000), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_memory(config, (4 << 20) - 1), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_memory(config, UINT64_MAX), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_memory(config, 4 << 20), 0);
    EXPECT_EQ(p2p_config_workers(config, 65), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_driver(config, static_cast<enum p2p_driver>(9)), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_agent_version(config, "two\nlines"), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_agent_version(config, std::string(128, 'x').c_str()), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_network_id(config, nullptr), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_network_id(config, "no UTF-8 \xff"), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_network_id(config, "a control \xc2\x9b"), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_network_id(config, "Bienenkönigin"), 0);
    EXPECT_EQ(p2p_config_log(config, static_cast<enum p2p_log_level>(9), P2P_LOG_TEXT, nullptr, nullptr),
              P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_config_max_connections(config, 0), 0); /* no limit */
}

TEST_F(ConfigTest, ACopyIsDeep)
{
    struct p2p_config copy;
    uint8_t key[KEY_PRIVATE_BYTES_MAX];
    size_t length = sizeof(key);
    p2p_key_generate(key, &length, P2P_KEY_ED25519, 0);
    p2p_config_identity(config, key, length);
    p2p_config_data_dir(config, "/somewhere");
    p2p_config_listen(config, "/ip4/127.0.0.1/tcp/1", &text);
    ASSERT_EQ(config_copy(&copy, config), 0);
    EXPECT_NE(copy.listen[0], config->listen[0]);
    EXPECT_STREQ(copy.listen[0], config->listen[0]);
    EXPECT_EQ(copy.listen[1], nullptr);
    EXPECT_NE(copy.identity, config->identity);
    EXPECT_EQ(memcmp(copy.identity, key, length), 0);
    EXPECT_STREQ(copy.data_dir, "/somewhere");
    config_fini(&copy);
    ASSERT_EQ(config_copy(&copy, nullptr), 0);
    EXPECT_STREQ(copy.network_id, "CHORUS-network");
    config_fini(&copy);
}

}  // namespace
