#include "net/plaintext.h"

#include <assert.h>
#include <stdlib.h>

#include "chorus/p2p.h"
#include "crypto/wire.h"

/* Exchange */
enum { FIELD_ID = 1, FIELD_KEY = 2 };

struct plaintext {
    const struct public_key *own;
    struct peer_id expected; /* none: anybody */
    struct peer_id remote_id;
    int error;
    bool sent, received;
    size_t filled;
    uint8_t buffer[PLAINTEXT_SEND_BYTES_MAX];
};

static_assert(PLAINTEXT_EXCHANGE_BYTES_MAX > KEY_PUBLIC_BYTES_MAX + PEER_ID_BYTES_MAX + 8, "our own fits");
static_assert(PLAINTEXT_EXCHANGE_BYTES_MAX < 1 << 14, "its length takes two bytes");

struct plaintext *plaintext_new(const struct public_key *own, const struct peer_id *expected)
{
    struct plaintext *plaintext = calloc(1, sizeof(*plaintext));

    if (plaintext == NULL)
        return NULL;
    plaintext->own = own;
    if (expected != NULL)
        plaintext->expected = *expected;
    return plaintext;
}

void plaintext_free(struct plaintext *plaintext)
{
    free(plaintext);
}

static int on_exchange(struct plaintext *plaintext, struct wire_span body)
{
    struct wire_reader reader = wire_reader_of(body.data, body.length);
    struct wire_span id = {NULL, 0}, key = {NULL, 0};
    struct public_key remote_key;
    struct wire_field field;

    while (wire_field_next(&reader, &field)) {
        if (field.number == FIELD_ID && field.type == WIRE_TYPE_BYTES)
            id = field.bytes;
        else if (field.number == FIELD_KEY && field.type == WIRE_TYPE_BYTES)
            key = field.bytes;
    }
    if (reader.failed || id.length == 0 || key.length == 0)
        return P2P_ERR_CONN_PROTOCOL;
    if (public_key_from_protobuf(&remote_key, key.data, key.length) != 0)
        return P2P_ERR_CONN_PROTOCOL;
    if (peer_id_from_bytes(&plaintext->remote_id, id.data, id.length) != 0)
        return P2P_ERR_CONN_PROTOCOL;
    if (!peer_id_matches_key(&plaintext->remote_id, &remote_key))
        return P2P_ERR_CONN_AUTH;
    if (!peer_id_is_none(&plaintext->expected) && !peer_id_equal(&plaintext->expected, &plaintext->remote_id))
        return P2P_ERR_CONN_PEER_ID;
    plaintext->received = true;
    return 0;
}

int plaintext_recv(struct plaintext *plaintext, const uint8_t *data, size_t length, size_t *taken)
{
    struct wire_span body;
    size_t total;
    int result;

    *taken = 0;
    while (plaintext->error == 0 && !plaintext->received && *taken < length) {
        plaintext->buffer[plaintext->filled++] = data[(*taken)++];
        result = wire_delimited_peek(&body, &total, plaintext->buffer, plaintext->filled,
                                     PLAINTEXT_EXCHANGE_BYTES_MAX);
        if (result == P2P_ERR_CALL_AGAIN)
            continue;
        plaintext->error = result == 0 ? on_exchange(plaintext, body) : P2P_ERR_CONN_PROTOCOL;
    }
    return plaintext->error;
}

int plaintext_send(struct plaintext *plaintext, uint8_t *out, size_t capacity, size_t *written)
{
    struct wire_writer writer = wire_writer_of(out, capacity);
    struct peer_id id;
    size_t mark;

    *written = 0;
    if (plaintext->sent || plaintext->error != 0)
        return 0;
    peer_id_from_public_key(&id, plaintext->own);
    mark = wire_delimited_begin(&writer);
    wire_field_bytes(&writer, FIELD_ID, id.bytes, id.length);
    wire_field_bytes(&writer, FIELD_KEY, plaintext->own->bytes, plaintext->own->length);
    wire_delimited_end(&writer, mark);
    if (writer.failed)
        return P2P_ERR_CALL_SHORT;
    assert(writer.length <= PLAINTEXT_SEND_BYTES_MAX);
    plaintext->sent = true;
    *written = writer.length;
    return 0;
}

bool plaintext_done(const struct plaintext *plaintext)
{
    return plaintext->sent && plaintext->received;
}

const struct peer_id *plaintext_remote_id(const struct plaintext *plaintext)
{
    assert(plaintext_done(plaintext));
    return &plaintext->remote_id;
}
