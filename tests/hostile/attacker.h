#ifndef TESTS_HOSTILE_ATTACKER_H
#define TESTS_HOSTILE_ATTACKER_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

extern "C" {
#include "crypto/aead.h"
#include "crypto/key.h"
#include "crypto/noise_xx.h"
#include "crypto/peer_id.h"
}

/* A peer that may break every rule: one TCP connection, with multistream-select,
 * Noise and yamux put together by hand, so that each byte of each layer can be
 * wrong.  Nothing here waits longer than its patience. */

enum {
    PATIENCE_MS = 5000, /* for what must come; far more than a busy machine needs */
};

enum class Ending {
    OPEN, /* still there when patience ended */
    FIN,
    RST,
};

/* How far the connection has come. */
enum class Stage {
    CONNECTED, /* TCP */
    SELECTED,  /* both have said /noise */
    HALF,      /* messages 1 and 2 are through; initiator only */
    SECURED,   /* message 3 too */
    MUXED,     /* yamux is agreed on */
};

/* ---- Bytes ---- */

std::string varint(uint64_t value);
/* Of multistream-select: length, text, newline. */
std::string token(const std::string &text);
/* The first words of a dialer: the header and its choice. */
std::string proposal(const std::string &protocol);
/* A Noise message: 16 bits of length, and the body. */
std::string noise_frame(const std::string &body);
/* A protobuf field of bytes. */
std::string field(uint32_t number, const std::string &bytes);
/* The same bytes every time. */
std::string noise_bytes(size_t length, uint32_t seed = 1);

/* ---- yamux ---- */

enum FrameType : uint8_t { DATA, WINDOW, PING, GOAWAY };
enum FrameFlag : uint16_t { SYN = 1, ACK = 2, FIN = 4, RST = 8 };

enum { WINDOW_BYTES = 262144, GOAWAY_PROTOCOL = 1 };

std::string frame(uint8_t type, uint16_t flags, uint32_t id, uint32_t length);
std::string data(uint16_t flags, uint32_t id, const std::string &bytes);

struct Frame {
    uint8_t type;
    uint16_t flags;
    uint32_t id, length;
    std::string body;
};

class Attacker
{
public:
    /* Dials 127.0.0.1. */
    explicit Attacker(uint16_t port, bool early_muxer = true);
    /* Was dialled: `socket` becomes ours, and we answer. */
    static Attacker accepted(int socket);
    ~Attacker();
    Attacker(Attacker &&other) noexcept;
    Attacker(const Attacker &) = delete;

    bool connected() const { return socket_ >= 0; }
    int socket() const { return socket_; }
    /* Gives one that has none yet its socket. */
    void take(int socket);

    /* Goes on to that stage by the rules.  False: the peer would not. */
    bool reach(Stage stage);

    /* ---- TCP ---- */

    /* All of it; false when the connection ended or took nothing for long.  What
     * comes meanwhile is kept, unless `deaf`. */
    bool send(const std::string &bytes);
    /* Exactly so many bytes, or fewer when they do not come. */
    std::string receive(size_t bytes, int patience_ms = PATIENCE_MS);
    /* Throws away what comes until the connection ends. */
    Ending ending(int patience_ms = PATIENCE_MS);
    void finish();
    void reset();
    void close();
    bool deaf = false;

    /* ---- Noise ---- */

    /* The next handshake message, framed. */
    std::string handshake_message(const std::string &payload);
    /* Reads the peer's next one. */
    bool read_handshake_message();
    /* After message 3. */
    void split();
    /* What an honest peer says of itself. */
    std::string payload() const;
    std::string payload(const std::string &public_key, const std::string &signature) const;
    std::string signature() const;
    std::string public_key() const;
    std::string sign(const std::string &text) const;
    std::string static_public() const;
    std::string id() const;
    std::string muxers = "/yamux/1.0.0"; /* announced early; "" for none */

    /* Plaintext as one record, framed; the nonce counts on. */
    std::string record(const std::string &plain);
    std::string record_at(uint64_t nonce, const std::string &plain);
    uint64_t send_nonce = 0;
    /* Seals in records as large as may be, and sends. */
    bool say(const std::string &plain);
    /* Plaintext of the next records. */
    std::string hear(size_t bytes, int patience_ms = PATIENCE_MS);

    /* ---- yamux ---- */

    std::optional<Frame> next_frame(int patience_ms = PATIENCE_MS);
    /* The next frame that is looked for; others are dropped. */
    std::optional<Frame> await(const std::function<bool(const Frame &)> &wanted, int patience_ms = PATIENCE_MS);
    std::optional<Frame> await(uint8_t type, uint16_t flags, uint32_t id, int patience_ms = PATIENCE_MS);
    /* The code of the GoAway that comes before the end; none: -1. */
    int64_t goaway(int patience_ms = PATIENCE_MS);
    /* An answer to a ping, at most so late. */
    bool pings(int patience_ms = PATIENCE_MS);
    /* How long that took, in ms; -1: none came. */
    int64_t ping_ms(int patience_ms = PATIENCE_MS);
    /* A stream by the rules; its id, or 0 when it was refused. */
    uint32_t open(const std::string &protocol);
    /* The stream's next payload bytes. */
    std::string read(uint32_t id, size_t bytes, int patience_ms = PATIENCE_MS);
    uint32_t next_id = 1;

private:
    Attacker(int socket, bool initiator, bool early_muxer);
    bool wait(short events, int64_t deadline_ms);
    bool fill();
    bool select(const std::string &protocol);
    bool select_inside(const std::string &protocol);
    bool open_record(int64_t deadline_ms);

    int socket_ = -1;
    Stage stage_ = Stage::CONNECTED;
    Ending ended_ = Ending::OPEN;
    std::string in_, plain_;
    bool initiator_ = true;
    struct key *identity_ = nullptr;
    struct noise_xx xx_ = {};
    uint8_t static_[32], static_public_[32];
    uint8_t send_key_[32], recv_key_[32];
    uint64_t recv_nonce_ = 0;
    struct aead_context *aead_ = nullptr;
    uint32_t ping_value_ = 0x70000000;
};

int64_t now_ms();

/* A connection to 127.0.0.1, or -1. */
int dial(uint16_t port);
/* A socket that listens on 127.0.0.1, and its port. */
int listen_somewhere(uint16_t *port);
/* The next connection, or -1. */
int accept_one(int listening, int patience_ms = PATIENCE_MS);

#endif
