#include "program.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Identities: id, key generate, key show, key convert; and the version. */

enum { KEY_BYTES = 8192 };

static const char *const type_names[] = {"rsa", "ed25519", "secp256k1", "ecdsa"};

static void wipe(uint8_t *key)
{
    explicit_bzero(key, KEY_BYTES);
}

static int print_id(const struct options *options, const char *id)
{
    char text[P2P_ID_TEXT_BYTES];
    int error = p2p_id_convert(text, id, options->cid);

    if (error != 0)
        return exit_of(error);
    if (options->json)
        print_json(json_pack("{s:s}", "id", text));
    else
        print("%s\n", text);
    return EXIT_OK;
}

int command_id(const struct options *options)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED, error;
    struct p2p_config *config = config_of(options, true, &status);

    if (config == NULL)
        return status;
    error = p2p_node_new(&node, config, NULL, &text);
    p2p_config_free(config);
    if (error != 0) {
        complain("%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
        return exit_of(error);
    }
    (void)p2p_node_id(node, id); /* a node has one */
    status = print_id(options, id);
    p2p_node_free(node);
    return status;
}

/* ---- key generate --------------------------------------------------------- */

/* The type that the options ask for, if they go together; -1 after a complaint. */
static int type_of(const struct options *options)
{
    int type = -1;

    for (int i = 0; i < 4; i++) {
        if (strcasecmp(options->key_type, type_names[i]) == 0)
            type = i;
    }
    if (type < 0) {
        complain("--type: '%s' is no key type; use ed25519, rsa, secp256k1 or ecdsa", options->key_type);
    } else if (options->bits != 0 && type != P2P_KEY_RSA) {
        complain("--bits: only RSA keys have a size to choose; leave it out, or add --type rsa");
        type = -1;
    } else if (options->bits % 8 != 0) {
        complain("--bits: '%u' is not a multiple of 8; use 2048, 3072 or 4096", options->bits);
        type = -1;
    } else if (options->out == NULL) {
        complain("key generate: it is not said where the key goes; add --out FILE");
        type = -1;
    }
    return type;
}

/* Of keys: whatever stands in the way, there is no identity. */
static int exit_of_key(int error)
{
    return error == 0 ? EXIT_OK : EXIT_IDENTITY;
}

int command_key_generate(const struct options *options)
{
    struct p2p_error_text text = {""};
    uint8_t key[KEY_BYTES];
    size_t length = sizeof(key);
    char id[P2P_ID_TEXT_BYTES];
    int type = type_of(options), error;

    if (type < 0)
        return EXIT_USAGE;
    error = p2p_key_generate(key, &length, (enum p2p_key_type)type, options->bits);
    if (error == 0)
        error = p2p_key_write_file(options->out, key, length, &text);
    if (error == 0)
        error = p2p_key_id(id, key, length);
    wipe(key);
    if (error == 0)
        return print_id(options, id);
    complain("--out: %s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    return exit_of_key(error);
}

/* ---- key show, key convert ------------------------------------------------ */

static void print_key(const struct options *options, int type, unsigned bits, const char *id)
{
    if (options->json)
        print_json(json_pack("{s:s, s:i, s:s}", "type", type_names[type], "bits", (int)bits, "id", id));
    else
        print("type %s\nbits %u\nid   %s\n", type_names[type], bits, id);
}

int command_key_show(const struct options *options)
{
    struct p2p_error_text text = {""};
    uint8_t key[KEY_BYTES];
    size_t length = sizeof(key);
    char id[P2P_ID_TEXT_BYTES];
    enum p2p_key_type type = P2P_KEY_ED25519;
    unsigned bits = 0;
    int error = p2p_key_read_file(key, &length, options->arguments[0], &text);

    if (error == 0)
        error = p2p_key_info(&type, &bits, key, length);
    if (error == 0)
        error = p2p_key_id(id, key, length);
    wipe(key);
    if (error == 0)
        error = p2p_id_convert(id, id, options->cid);
    if (error == 0)
        print_key(options, (int)type, bits, id);
    else
        complain("key show: %s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    return exit_of_key(error);
}

int command_key_convert(const struct options *options)
{
    int status = print_id(options, options->arguments[0]);

    if (status != EXIT_OK)
        complain("key convert: '%s' is no peer id; it must be base58btc (12D3Koo…, Qm…) or a CIDv1 (bafz…, k51…)",
                 options->arguments[0]);
    return status;
}

int command_version(const struct options *options)
{
    if (options->json)
        print_json(json_pack("{s:s, s:i}", "version", p2p_version(), "abi", p2p_abi_version()));
    else
        print("chorus-p2p %s\n", p2p_version());
    return EXIT_OK;
}
