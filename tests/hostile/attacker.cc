#include "tests/hostile/attacker.h"

#include <arpa/inet.h>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sodium.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- Bytes ---- */

std::string varint(uint64_t value)
{
    std::string out;
    for (; value >= 0x80; value >>= 7)
        out += static_cast<char>(value | 0x80);
    return out + static_cast<char>(value);
}

std::string token(const std::string &text)
{
    return varint(text.size() + 1) + text + "\n";
}

std::string proposal(const std::string &protocol)
{
    return token("/multistream/1.0.0") + token(protocol);
}

std::string noise_frame(const std::string &body)
{
    return std::string{static_cast<char>(body.size() >> 8), static_cast<char>(body.size())} + body;
}

std::string field(uint32_t number, const std::string &bytes)
{
    return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string noise_bytes(size_t length, uint32_t seed)
{
    std::string out(length, '\0');
    uint8_t seed_bytes[randombytes_SEEDBYTES] = {};
    memcpy(seed_bytes, &seed, sizeof(seed));
    randombytes_buf_deterministic(out.data(), out.size(), seed_bytes);
    return out;
}

static std::string big_endian(uint32_t value, int bytes)
{
    std::string out;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        out += static_cast<char>(value >> shift);
    return out;
}

static uint32_t big_endian_at(const std::string &bytes, size_t offset, int length)
{
    uint32_t value = 0;
    for (int i = 0; i < length; i++)
        value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
    return value;
}

std::string frame(uint8_t type, uint16_t flags, uint32_t id, uint32_t length)
{
    return std::string{'\0', static_cast<char>(type)} + big_endian(flags, 2) + big_endian(id, 4) +
           big_endian(length, 4);
}

std::string data(uint16_t flags, uint32_t id, const std::string &bytes)
{
    return frame(DATA, flags, id, static_cast<uint32_t>(bytes.size())) + bytes;
}

int64_t now_ms()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Life ---- */

int dial(uint16_t port)
{
    struct sockaddr_in address = {};
    int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (socket >= 0 && connect(socket, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) != 0) {
        ::close(socket);
        return -1;
    }
    return socket;
}

Attacker::Attacker(uint16_t port, bool early_muxer) : Attacker(dial(port), true, early_muxer)
{
}

Attacker Attacker::accepted(int socket)
{
    return Attacker(socket, false, true);
}

Attacker::Attacker(int socket, bool initiator, bool early_muxer) : initiator_(initiator)
{
    uint8_t seed[32], ephemeral[32];

    if (!early_muxer)
        muxers = "";
    next_id = initiator ? 1 : 2;
    take(socket);
    randombytes_buf(seed, sizeof(seed));
    randombytes_buf(static_, sizeof(static_));
    randombytes_buf(ephemeral, sizeof(ephemeral));
    [[maybe_unused]] int error = key_new_seed(&identity_, seed);
    assert(error == 0);
    crypto_scalarmult_base(static_public_, static_);
    noise_xx_init(&xx_, initiator, nullptr, 0, static_, static_public_, ephemeral);
    aead_ = aead_context_new();
}

Attacker::Attacker(Attacker &&other) noexcept
    : deaf(other.deaf), muxers(std::move(other.muxers)), send_nonce(other.send_nonce), next_id(other.next_id),
      socket_(other.socket_), stage_(other.stage_), ended_(other.ended_), in_(std::move(other.in_)),
      plain_(std::move(other.plain_)), initiator_(other.initiator_), identity_(other.identity_), xx_(other.xx_),
      recv_nonce_(other.recv_nonce_), aead_(other.aead_), ping_value_(other.ping_value_)
{
    memcpy(static_, other.static_, sizeof(static_));
    memcpy(static_public_, other.static_public_, sizeof(static_public_));
    memcpy(send_key_, other.send_key_, sizeof(send_key_));
    memcpy(recv_key_, other.recv_key_, sizeof(recv_key_));
    other.socket_ = -1;
    other.identity_ = nullptr;
    other.aead_ = nullptr;
}

Attacker::~Attacker()
{
    close();
    key_free(identity_);
    aead_context_free(aead_);
}

void Attacker::take(int socket)
{
    int on = 1;

    socket_ = socket;
    if (socket < 0)
        return;
    fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* ---- TCP ---- */

bool Attacker::wait(short events, int64_t deadline_ms)
{
    struct pollfd poll_of = {socket_, events, 0};
    int64_t left = deadline_ms - now_ms();

    return socket_ >= 0 && poll(&poll_of, 1, left > 0 ? static_cast<int>(left) : 0) == 1;
}

/* Takes what is there; false at the end. */
bool Attacker::fill()
{
    static thread_local char buffer[262144];
    ssize_t count = recv(socket_, buffer, sizeof(buffer), 0);

    if (count > 0)
        in_.append(buffer, static_cast<size_t>(count));
    else if (count == 0)
        ended_ = Ending::FIN;
    else if (errno != EAGAIN && errno != EINTR)
        ended_ = Ending::RST;
    return ended_ == Ending::OPEN;
}

bool Attacker::send(const std::string &bytes)
{
    int64_t deadline_ms = now_ms() + PATIENCE_MS;
    size_t done = 0;

    while (done < bytes.size()) {
        ssize_t count = ::send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
        if (count > 0) {
            done += static_cast<size_t>(count);
            deadline_ms = now_ms() + PATIENCE_MS;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return false;
        struct pollfd poll_of = {socket_, static_cast<short>(deaf ? POLLOUT : POLLIN | POLLOUT), 0};
        if (now_ms() > deadline_ms || poll(&poll_of, 1, 100) < 0)
            return false;
        if (poll_of.revents & POLLIN && !fill())
            return false;
    }
    return true;
}

std::string Attacker::receive(size_t bytes, int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;

    while (in_.size() < bytes && ended_ == Ending::OPEN && wait(POLLIN, deadline_ms))
        fill();
    std::string out = in_.substr(0, bytes);
    in_.erase(0, out.size());
    return out;
}

Ending Attacker::ending(int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;

    while (ended_ == Ending::OPEN && wait(POLLIN, deadline_ms)) {
        fill();
        in_.clear();
    }
    return ended_;
}

void Attacker::finish()
{
    shutdown(socket_, SHUT_WR);
}

void Attacker::reset()
{
    struct linger linger = {1, 0};

    if (socket_ >= 0)
        setsockopt(socket_, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close();
}

void Attacker::close()
{
    if (socket_ >= 0)
        ::close(socket_);
    socket_ = -1;
}

int listen_somewhere(uint16_t *port)
{
    struct sockaddr_in address = {};
    socklen_t length = sizeof(address);
    int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(socket, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) != 0 || listen(socket, 128) != 0)
        return -1;
    getsockname(socket, reinterpret_cast<struct sockaddr *>(&address), &length);
    *port = ntohs(address.sin_port);
    return socket;
}

int accept_one(int listening, int patience_ms)
{
    struct pollfd poll_of = {listening, POLLIN, 0};

    if (poll(&poll_of, 1, patience_ms) != 1)
        return -1;
    return accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
}

/* ---- Stages ---- */

bool Attacker::select(const std::string &protocol)
{
    std::string words = proposal(protocol);

    return send(words) && receive(words.size()) == words;
}

bool Attacker::select_inside(const std::string &protocol)
{
    std::string words = proposal(protocol);

    return say(words) && hear(words.size()) == words;
}

bool Attacker::reach(Stage stage)
{
    bool fine = connected();

    for (; fine && stage_ < stage; stage_ = static_cast<Stage>(static_cast<int>(stage_) + 1)) {
        switch (stage_) {
        case Stage::CONNECTED:
            fine = select("/noise");
            break;
        case Stage::SELECTED:
            fine = initiator_ ? send(handshake_message("")) && read_handshake_message()
                              : read_handshake_message() && send(handshake_message(payload()));
            break;
        case Stage::HALF:
            fine = initiator_ ? send(handshake_message(payload())) : read_handshake_message();
            if (fine)
                split();
            break;
        case Stage::SECURED:
            fine = !muxers.empty() || select_inside("/yamux/1.0.0");
            break;
        case Stage::MUXED:
            break;
        }
    }
    return fine;
}

/* ---- Noise ---- */

std::string Attacker::handshake_message(const std::string &payload)
{
    std::string body(65535, '\0');
    size_t written = 0;
    int error = noise_xx_write(&xx_, reinterpret_cast<uint8_t *>(body.data()), body.size(), &written,
                               reinterpret_cast<const uint8_t *>(payload.data()), payload.size());

    body.resize(error == 0 ? written : 0);
    return noise_frame(body);
}

bool Attacker::read_handshake_message()
{
    std::string length = receive(2);

    if (length.size() < 2)
        return false;
    std::string body = receive(big_endian_at(length, 0, 2));
    std::string plain(65536, '\0');
    size_t plain_length = 0;
    return noise_xx_read(&xx_, reinterpret_cast<uint8_t *>(plain.data()), &plain_length,
                         reinterpret_cast<const uint8_t *>(body.data()), body.size()) == 0;
}

void Attacker::split()
{
    noise_xx_split(&xx_, send_key_, recv_key_);
}

std::string Attacker::static_public() const
{
    return std::string(reinterpret_cast<const char *>(static_public_), sizeof(static_public_));
}

std::string Attacker::sign(const std::string &text) const
{
    std::string out(KEY_SIGNATURE_BYTES_MAX, '\0');
    size_t length = 0;

    [[maybe_unused]] int error = key_sign(identity_, reinterpret_cast<uint8_t *>(out.data()), &length,
                                          reinterpret_cast<const uint8_t *>(text.data()), text.size());
    assert(error == 0);
    return out.substr(0, length);
}

std::string Attacker::signature() const
{
    return sign("noise-libp2p-static-key:" + static_public());
}

std::string Attacker::public_key() const
{
    const struct public_key *key = key_public(identity_);

    return std::string(reinterpret_cast<const char *>(key->bytes), key->length);
}

std::string Attacker::id() const
{
    struct peer_id id;
    char text[PEER_ID_TEXT_SIZE];

    peer_id_from_public_key(&id, key_public(identity_));
    peer_id_to_text(&id, text);
    return text;
}

std::string Attacker::payload(const std::string &public_key, const std::string &signature) const
{
    return field(1, public_key) + field(2, signature) + (muxers.empty() ? "" : field(4, field(2, muxers)));
}

std::string Attacker::payload() const
{
    return payload(public_key(), signature());
}

std::string Attacker::record_at(uint64_t nonce, const std::string &plain)
{
    std::string body(plain.size() + AEAD_TAG_BYTES, '\0');
    struct aead_piece piece = {reinterpret_cast<const uint8_t *>(plain.data()), plain.size()};

    [[maybe_unused]] int error =
        aead_seal(aead_, send_key_, nonce, nullptr, 0, reinterpret_cast<uint8_t *>(body.data()), &piece, 1);
    assert(error == 0);
    return noise_frame(body);
}

std::string Attacker::record(const std::string &plain)
{
    return record_at(send_nonce++, plain);
}

bool Attacker::say(const std::string &plain)
{
    std::string sealed;

    for (size_t at = 0; at < plain.size(); at += 65519)
        sealed += record(plain.substr(at, 65519));
    return send(sealed);
}

bool Attacker::open_record(int64_t deadline_ms)
{
    auto whole = [this] { return in_.size() >= 2 && in_.size() - 2 >= big_endian_at(in_, 0, 2); };

    while (!whole() && ended_ == Ending::OPEN && wait(POLLIN, deadline_ms))
        fill();
    if (!whole())
        return false;
    std::string body = in_.substr(2, big_endian_at(in_, 0, 2));
    std::string plain(body.size(), '\0');
    in_.erase(0, body.size() + 2);
    if (aead_open(aead_, recv_key_, recv_nonce_++, nullptr, 0, reinterpret_cast<uint8_t *>(plain.data()),
                  reinterpret_cast<const uint8_t *>(body.data()), body.size()) != 0)
        return false;
    plain_.append(plain, 0, body.size() - AEAD_TAG_BYTES);
    return true;
}

std::string Attacker::hear(size_t bytes, int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;

    while (plain_.size() < bytes && open_record(deadline_ms))
        ;
    std::string out = plain_.substr(0, bytes);
    plain_.erase(0, out.size());
    return out;
}

/* ---- yamux ---- */

std::optional<Frame> Attacker::next_frame(int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;
    auto whole = [this] {
        return plain_.size() >= 12 && (plain_[1] != DATA || plain_.size() - 12 >= big_endian_at(plain_, 8, 4));
    };

    while (!whole()) {
        if (!open_record(deadline_ms))
            return std::nullopt;
    }
    /* We are awake, whatever else we are. */
    if (plain_[1] == PING && big_endian_at(plain_, 2, 2) & SYN)
        say(frame(PING, ACK, 0, big_endian_at(plain_, 8, 4)));
    Frame out = {static_cast<uint8_t>(plain_[1]), static_cast<uint16_t>(big_endian_at(plain_, 2, 2)),
                 big_endian_at(plain_, 4, 4), big_endian_at(plain_, 8, 4), ""};
    if (out.type == DATA)
        out.body = plain_.substr(12, out.length);
    plain_.erase(0, 12 + out.body.size());
    return out;
}

std::optional<Frame> Attacker::await(const std::function<bool(const Frame &)> &wanted, int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;

    for (;;) {
        std::optional<Frame> got = next_frame(static_cast<int>(deadline_ms - now_ms()));
        if (!got || wanted(*got))
            return got;
    }
}

std::optional<Frame> Attacker::await(uint8_t type, uint16_t flags, uint32_t id, int patience_ms)
{
    return await([=](const Frame &got) { return got.type == type && (got.flags & flags) == flags && got.id == id; },
                 patience_ms);
}

int64_t Attacker::goaway(int patience_ms)
{
    std::optional<Frame> got = await(GOAWAY, 0, 0, patience_ms);

    return got ? static_cast<int64_t>(got->length) : -1;
}

int64_t Attacker::ping_ms(int patience_ms)
{
    int64_t begin_ms = now_ms();
    uint32_t first = ping_value_ + 1;
    auto answers = [&](const Frame &got) {
        return got.type == PING && got.flags & ACK && got.length >= first && got.length <= ping_value_;
    };

    /* One that comes while many wait may be dropped: ask again. */
    while (now_ms() - begin_ms < patience_ms) {
        if (!say(frame(PING, SYN, 0, ++ping_value_)))
            return -1;
        if (await(answers, patience_ms < 500 ? patience_ms : 500))
            return now_ms() - begin_ms;
        if (ended_ != Ending::OPEN)
            return -1;
    }
    return -1;
}

bool Attacker::pings(int patience_ms)
{
    return ping_ms(patience_ms) >= 0;
}

uint32_t Attacker::open(const std::string &protocol)
{
    uint32_t id = next_id;
    std::string words = proposal(protocol);

    next_id += 2;
    if (!say(frame(WINDOW, SYN, id, 0) + data(0, id, words)))
        return 0;
    return read(id, words.size()) == words ? id : 0;
}

std::string Attacker::read(uint32_t id, size_t bytes, int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;
    std::string out;

    while (out.size() < bytes) {
        std::optional<Frame> got = await([=](const Frame &frame) { return frame.id == id; },
                                         static_cast<int>(deadline_ms - now_ms()));
        if (!got || got->flags & RST)
            break;
        out += got->body;
        if (got->flags & FIN)
            break;
    }
    return out;
}
