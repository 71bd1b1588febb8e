/* Peer ids as bytes and as text of every form. */
#include <assert.h>
#include <string.h>

#include "crypto/peer_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct peer_id *id)
{
    size_t (*const forms[])(const struct peer_id *, char *) = {peer_id_to_text, peer_id_to_cid, peer_id_to_cid36};
    char text[PEER_ID_TEXT_SIZE], last[PEER_ID_SHORT_SIZE];
    struct public_key key;
    struct peer_id again;

    assert(!peer_id_is_none(id));
    for (int i = 0; i < 3; i++) {
        size_t length = forms[i](id, text);

        assert(strlen(text) == length && length < PEER_ID_TEXT_SIZE);
        assert(peer_id_from_text(&again, text, length) == 0);
        assert(peer_id_equal(id, &again));
    }
    peer_id_to_short(id, last);
    assert(peer_id_from_bytes(&again, id->bytes, id->length) == 0);
    if (peer_id_public_key(id, &key) == 0)
        assert(peer_id_matches_key(id, &key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peer_id id;

    if (peer_id_from_bytes(&id, data, size) == 0)
        check(&id);
    if (peer_id_from_text(&id, (const char *)data, size) == 0)
        check(&id);
    return 0;
}
