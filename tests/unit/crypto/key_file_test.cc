#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/key_file.h"
}
#include "support.h"

namespace fs = std::filesystem;

/* A folder of its own for each test. */
class KeyFile : public ::testing::Test {
protected:
    std::string folder, path;
    char why[KEY_FILE_WHY_BYTES] = "";
    struct key *key = nullptr;

    void SetUp() override
    {
        char name[] = "/tmp/key_file_test.XXXXXX";
        uint8_t seed[32] = {7};

        ASSERT_NE(mkdtemp(name), nullptr);
        folder = name;
        path = folder + "/identity.key";
        ASSERT_EQ(crypto_init(), 0);
        ASSERT_EQ(key_new_seed(&key, seed), 0);
    }
    void TearDown() override
    {
        key_free(key);
        fs::permissions(folder, fs::perms::owner_all);
        fs::remove_all(folder);
    }
    void put(const Bytes &bytes, mode_t mode = 0600)
    {
        std::ofstream(path, std::ios::binary).write((const char *)bytes.data(), (std::streamsize)bytes.size());
        chmod(path.c_str(), mode);
    }
    int read(struct key **out) { return key_file_read(out, why, path.c_str()); }
    /* The text must name the path, and hold a word of the remedy. */
    void expect_refused(const char *remedy)
    {
        struct key *got = nullptr;

        EXPECT_EQ(read(&got), P2P_ERR_NODE_KEY);
        EXPECT_EQ(got, nullptr);
        EXPECT_NE(std::string(why).find(path), std::string::npos) << why;
        EXPECT_NE(std::string(why).find(remedy), std::string::npos) << why;
    }
    size_t files() const
    {
        return (size_t)std::distance(fs::directory_iterator(folder), fs::directory_iterator());
    }
    Bytes content() const
    {
        std::ifstream file(path, std::ios::binary);
        return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
};

TEST_F(KeyFile, ReadsBackWhatItWrote)
{
    struct key *got = nullptr;
    struct stat status;

    ASSERT_EQ(key_file_write(key, why, path.c_str()), 0) << why;
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(status.st_size, 68);
    EXPECT_EQ(files(), 1u) << "nothing else is left";
    ASSERT_EQ(read(&got), 0) << why;
    EXPECT_TRUE(public_key_equal(key_public(got), key_public(key)));
    key_free(got);
}

TEST_F(KeyFile, HasItsModeUnderAnyUmask)
{
    for (mode_t mask : {0000, 0777}) {
        struct stat status;
        mode_t before = umask(mask);

        EXPECT_EQ(key_file_write(key, why, path.c_str()), 0) << why;
        umask(before);
        ASSERT_EQ(stat(path.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777, 0600u);
        fs::remove(path);
    }
}

TEST_F(KeyFile, WritesByARelativePath)
{
    fs::path before = fs::current_path();

    fs::current_path(folder);
    EXPECT_EQ(key_file_write(key, why, "plain.key"), 0) << why;
    fs::current_path(before);
    EXPECT_TRUE(fs::exists(folder + "/plain.key"));
}

TEST_F(KeyFile, ReadsTheKeysOfTheSpec)
{
    for (const Record &record : read_records("keys.txt")) {
        struct key *got = nullptr;

        put(record.bytes("private"));
        EXPECT_EQ(read(&got), 0) << why;
        key_free(got);
    }
}

TEST_F(KeyFile, NeverTouchesAnExistingFile)
{
    put(bytes_of("precious"));
    EXPECT_EQ(key_file_write(key, why, path.c_str()), P2P_ERR_CALL_EXISTS);
    EXPECT_NE(std::string(why).find(path), std::string::npos);
    EXPECT_EQ(content(), bytes_of("precious"));
    EXPECT_EQ(files(), 1u);
    fs::remove(path);
    fs::create_symlink(folder + "/elsewhere", path);
    EXPECT_EQ(key_file_write(key, why, path.c_str()), P2P_ERR_CALL_EXISTS) << "nor a link that leads nowhere";
    EXPECT_FALSE(fs::exists(folder + "/elsewhere"));
    fs::remove(path);
    fs::create_directory(path);
    EXPECT_EQ(key_file_write(key, why, path.c_str()), P2P_ERR_CALL_EXISTS);
}

TEST_F(KeyFile, SaysThatThereIsNone)
{
    struct key *got = nullptr;

    EXPECT_EQ(read(&got), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_NE(std::string(why).find(path), std::string::npos);
}

TEST_F(KeyFile, RefusesModesThatLetOthersIn)
{
    ASSERT_EQ(key_file_write(key, why, path.c_str()), 0);
    for (mode_t mode : {0644, 0640, 0604, 0660, 0602, 0610, 0777}) {
        chmod(path.c_str(), mode);
        expect_refused("chmod 600");
    }
    for (mode_t mode : {0600, 0400}) {
        struct key *got = nullptr;

        chmod(path.c_str(), mode);
        EXPECT_EQ(read(&got), 0) << why;
        key_free(got);
    }
}

TEST_F(KeyFile, RefusesTheFileOfAnotherUser)
{
    if (geteuid() != 0)
        GTEST_SKIP() << "only root can give a file away";
    ASSERT_EQ(key_file_write(key, why, path.c_str()), 0);
    ASSERT_EQ(chown(path.c_str(), 12345, 12345), 0);
    expect_refused("chown");
}

TEST_F(KeyFile, RefusesEmptyOversizeAndGarbage)
{
    put({});
    expect_refused("empty");
    put(Bytes(KEY_FILE_BYTES_MAX + 1, 8));
    expect_refused("larger");
    put(Bytes(1000000, 8));
    expect_refused("larger");
    put(bytes_of("-----BEGIN PRIVATE KEY-----"));
    expect_refused("PEM");
    put(Bytes(KEY_FILE_BYTES_MAX, 0));
    expect_refused("restore");
    put(hex("08041200"));
    expect_refused("not supported");
}

TEST_F(KeyFile, RefusesAKeyCutAtEachLength)
{
    ASSERT_EQ(key_file_write(key, why, path.c_str()), 0);
    Bytes whole = content();

    for (size_t cut = 0; cut < whole.size(); cut++) {
        put(Bytes(whole.begin(), whole.begin() + cut));
        expect_refused(path.c_str());
    }
}

TEST_F(KeyFile, RefusesWhatIsNoFileWithoutWaiting)
{
    fs::create_directory(path);
    chmod(path.c_str(), 0600);
    expect_refused("not a plain file");
    fs::remove(path);
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    expect_refused("not a plain file");
}

TEST_F(KeyFile, SaysWhatStandsInTheWayOfWriting)
{
    std::string missing = folder + "/no/such/key", under_file = path + "/key";
    std::string long_name = folder + "/" + std::string(5000, 'n');

    EXPECT_EQ(key_file_write(key, why, missing.c_str()), P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(why).find("create its folder"), std::string::npos) << why;
    EXPECT_NE(std::string(why).find(missing), std::string::npos);
    put({});
    EXPECT_EQ(key_file_write(key, why, under_file.c_str()), P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(why).find("correct the path"), std::string::npos) << why;
    EXPECT_EQ(key_file_write(key, why, long_name.c_str()), P2P_ERR_NODE_KEY);
    EXPECT_LT(strlen(why), (size_t)KEY_FILE_WHY_BYTES);
}

TEST_F(KeyFile, SaysThatItMayNotWriteThere)
{
    if (geteuid() == 0)
        GTEST_SKIP() << "root may write anywhere";
    fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_EQ(key_file_write(key, why, path.c_str()), P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(why).find("give this user access"), std::string::npos) << why;
}

TEST_F(KeyFile, LeavesNothingWhenTheSpaceRunsOut)
{
    /* A bound on file sizes cuts the write short as a full disk does. */
    struct rlimit before, tight;
    struct sigaction ignore = {}, old;
    int error;

    ignore.sa_handler = SIG_IGN;
    ASSERT_EQ(sigaction(SIGXFSZ, &ignore, &old), 0);
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    tight.rlim_cur = 20;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    error = key_file_write(key, why, path.c_str());
    setrlimit(RLIMIT_FSIZE, &before);
    sigaction(SIGXFSZ, &old, nullptr);
    EXPECT_EQ(error, P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(why).find("free some space"), std::string::npos) << why;
    EXPECT_EQ(files(), 0u);
    EXPECT_EQ(key_file_write(key, why, path.c_str()), 0) << "and it works when there is space again";
}
