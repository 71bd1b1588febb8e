#include "program.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Identities: id, key generate, key show, key convert. */

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
        printf("%s\n", text);
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

static int generate(const struct options *options)
{
    struct p2p_error_text text = {""};
    uint8_t key[KEY_BYTES];
    size_t length = sizeof(key);
    char id[P2P_ID_TEXT_BYTES];
    int type = -1, error;

    for (int i = 0; i < 4; i++) {
        if (strcasecmp(options->key_type, type_names[i]) == 0)
            type = i;
    }
    if (type < 0) {
        complain("--type: '%s' is no key type; use ed25519, rsa, secp256k1 or ecdsa", options->key_type);
        return EXIT_USAGE;
    }
    if (options->out == NULL) {
        complain("key generate needs --out FILE");
        return EXIT_USAGE;
    }
    error = p2p_key_generate(key, &length, (enum p2p_key_type)type, options->bits);
    if (error != 0)
        complain("cannot make the key: %s%s", p2p_error_string(error),
                 type == P2P_KEY_RSA ? "; --bits takes 2048 to 8192, a multiple of 8" : "");
    if (error == 0) {
        error = p2p_key_write_file(options->out, key, length, &text);
        if (error != 0)
            complain("%s", text.text);
    }
    if (error == 0)
        error = p2p_key_id(id, key, length);
    wipe(key);
    return error == 0 ? print_id(options, id) : exit_of(error);
}

static int show(const struct options *options, const char *path)
{
    struct p2p_error_text text = {""};
    uint8_t key[KEY_BYTES];
    size_t length = sizeof(key);
    char id[P2P_ID_TEXT_BYTES];
    enum p2p_key_type type = P2P_KEY_ED25519;
    unsigned bits = 0;
    int error = p2p_key_read_file(key, &length, path, &text);

    if (error != 0)
        complain("%s", text.text);
    if (error == 0)
        error = p2p_key_info(&type, &bits, key, length);
    if (error == 0)
        error = p2p_key_id(id, key, length);
    wipe(key);
    if (error != 0)
        return exit_of(error);
    if (options->json)
        print_json(json_pack("{s:s, s:i, s:s}", "type", type_names[type], "bits", (int)bits, "id", id));
    else
        printf("type %s\nbits %u\nid   %s\n", type_names[type], bits, id);
    return EXIT_OK;
}

int command_key(const struct options *options)
{
    const char *verb = options->arguments[0];
    const char *argument = options->arguments[1];

    if (strcmp(verb, "generate") == 0 && argument == NULL)
        return generate(options);
    if (strcmp(verb, "show") == 0 && argument != NULL)
        return show(options, argument);
    if (strcmp(verb, "convert") == 0 && argument != NULL) {
        int status = print_id(options, argument);

        if (status != EXIT_OK)
            complain("'%s' is no peer id: neither base58btc (12D3Koo…, Qm…) nor CIDv1 (bafz…, k51…)", argument);
        return status;
    }
    complain("key: use 'key generate --out FILE', 'key show FILE' or 'key convert ID [--cid]'");
    return EXIT_USAGE;
}

int command_version(const struct options *options)
{
    if (options->json)
        print_json(json_pack("{s:s, s:i}", "version", p2p_version(), "abi", p2p_abi_version()));
    else
        printf("chorus-p2p %s\n", p2p_version());
    return EXIT_OK;
}
