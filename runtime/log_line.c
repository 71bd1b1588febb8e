#include "runtime/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Each value begins with what JSON is to make of it. */
enum { VALUE_TEXT = 's', VALUE_NUMBER = 'n' };

enum {
    LINE_END_BYTES = 24, /* kept for the end of a line that is cut */
    VALUE_BYTES_MIN = 8, /* with less room a field is not begun */
};

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG", "TRACE"};
static const char *const level_names_low[] = {"error", "warn", "info", "debug", "trace"};

/* ---- writing a line ---------------------------------------------------- */

struct output {
    char *text;
    size_t length, capacity;
    bool cut;
};

static void put_char(struct output *out, char c)
{
    if (out->length < out->capacity)
        out->text[out->length++] = c;
    else
        out->cut = true;
}

static void put(struct output *out, const char *text)
{
    while (*text)
        put_char(out, *text++);
}

/* Whole or not at all, so that a cut does not fall into an escape. */
static void put_escape(struct output *out, const char *text)
{
    if (out->length + strlen(text) <= out->capacity && !out->cut)
        put(out, text);
    else
        out->cut = true;
}

static void put_quoted(struct output *out, const char *value)
{
    put_char(out, '"');
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        char escape[8];
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof(escape), "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            snprintf(escape, sizeof(escape), "\\u%04x", c);
        else
            snprintf(escape, sizeof(escape), "%c", c);
        put_escape(out, escape);
    }
    if (!out->cut)
        put_char(out, '"');
}

static bool needs_quotes(const char *value)
{
    if (!*value)
        return true;
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c <= 0x20 || c == 0x7f || c == '"' || c == '\\' || c == '=')
            return true;
    }
    return false;
}

/* How long the UTF-8 character here is; 0 when it is none. */
static unsigned character_length(const unsigned char *at)
{
    unsigned length = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
    for (unsigned i = 1; i < length; i++)
        if (at[i] >> 6 != 2)
            return 0;
    bool overlong = (*at == 0xe0 && at[1] < 0xa0) || (*at == 0xf0 && at[1] < 0x90);
    bool beyond = (*at == 0xed && at[1] > 0x9f) || (*at == 0xf4 && at[1] > 0x8f);
    return overlong || beyond ? 0 : length;
}

/* JSON text is UTF-8: bytes of a peer's that are not become '?'. */
static void sanitize(char *text)
{
    unsigned char *at = (unsigned char *)text;
    while (*at) {
        unsigned length = character_length(at);
        if (!length)
            *at = '?';
        at += length ? length : 1;
    }
}

static void put_time(struct output *out, uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    char text[40];
    gmtime_r(&seconds, &tm);
    size_t length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + length, sizeof(text) - length, ".%03uZ", (unsigned)(wall_ns / 1000000 % 1000));
    put(out, text);
}

static void put_field(struct output *out, enum log_format format, const char *key, char kind, char *value)
{
    sanitize(value);
    if (format == LOG_FORMAT_TEXT) {
        put_char(out, ' ');
        put(out, key);
        put_char(out, '=');
        if (needs_quotes(value))
            put_quoted(out, value);
        else
            put(out, value);
        return;
    }
    put(out, ",\"");
    put(out, key);
    put(out, "\":");
    if (kind == VALUE_NUMBER)
        put_escape(out, value);
    else
        put_quoted(out, value);
}

/* In JSON a field that does not fit is left out as a whole. */
static void put_fields(struct output *out, enum log_format format, char *text, size_t length)
{
    char *at = text, *end = text + length;
    while (at < end && !out->cut) {
        char *key = at, *value = at + strlen(at) + 2;
        at = value + strlen(value) + 1;
        size_t before = out->length;
        put_field(out, format, key, value[-1], value);
        if (out->cut && format == LOG_FORMAT_JSON)
            out->length = before;
    }
}

static void put_head(struct output *out, enum log_format format, const char *prefix,
                     const struct log_line *line)
{
    bool json = format == LOG_FORMAT_JSON;
    put(out, json ? "{\"time\":\"" : "");
    put_time(out, line->wall_ns);
    put(out, json ? "\",\"level\":\"" : " ");
    put(out, (json ? level_names_low : level_names)[line->level]);
    put(out, json ? "\",\"event\":\"" : " ");
    put(out, line->event);
    put(out, json ? "\"" : "");
    char node[LOG_PREFIX_BYTES_MAX];
    snprintf(node, sizeof(node), "%s", prefix);
    if (*node)
        put_field(out, format, "node", VALUE_TEXT, node);
}

size_t log_line_compose(char text[LOG_LINE_BYTES_MAX], struct log_line *line, enum log_format format,
                        const char *prefix)
{
    struct output out = {text, 0, LOG_LINE_BYTES_MAX - LINE_END_BYTES, false};
    put_head(&out, format, prefix, line);
    put_fields(&out, format, line->text, line->length);
    bool cut = out.cut || line->cut;
    out.capacity = LOG_LINE_BYTES_MAX;
    if (format == LOG_FORMAT_JSON)
        put(&out, cut ? ",\"cut\":\"...\"}" : "}");
    else if (cut)
        put(&out, "...");
    put_char(&out, '\n');
    return out.length;
}

/* ---- taking a line apart ----------------------------------------------- */

static void add(struct log_line *line, const char *text, size_t length)
{
    size_t end = sizeof(line->text) - 2; /* then the ends of this piece and of the next still fit */
    size_t room = line->length < end ? end - line->length : 0;
    if (length > room) {
        length = room;
        line->cut = true;
    }
    memcpy(line->text + line->length, text, length);
    line->length = (uint16_t)(line->length + length);
}

static void end_piece(struct log_line *line)
{
    line->text[line->length++] = '\0';
}

/* One conversion of printf: its length is at `*at` on return. */
struct conversion {
    char spec[24];
    char size; /* 0, 'l', 'L' for long long, 'z', 'j', 't' */
    char type;
    bool star; /* "%.*s" */
};

static const char *parse_conversion(struct conversion *out, const char *at)
{
    size_t length = 0;
    *out = (struct conversion){.spec = "%"};
    for (length = 1, at++; *at && strchr("-+ #0123456789.*", *at); at++) {
        out->star = out->star || *at == '*';
        if (length < sizeof(out->spec) - 5)
            out->spec[length++] = *at;
    }
    for (; *at && strchr("hlzjt", *at); at++) {
        out->size = (char)(*at == 'l' && out->size == 'l' ? 'L' : *at);
        out->spec[length++] = *at;
    }
    out->type = *at;
    out->spec[length++] = *at;
    out->spec[length] = '\0';
    return *at ? at + 1 : at;
}

/* NOLINTBEGIN(clang-analyzer-valist.Uninitialized,bugprone-branch-clone): it does not follow a va_list through a
 * pointer, and does not see that branches differ in the type that they take */

static void add_integer(struct log_line *line, const struct conversion *conversion, va_list *arguments)
{
    char text[64];
    int length;
    switch (conversion->size) {
    case 'l':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, long));
        break;
    case 'L':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, long long));
        break;
    case 'z':
    case 't':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, size_t));
        break;
    case 'j':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, intmax_t));
        break;
    default:
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, int));
    }
    add(line, text, length < (int)sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

static void add_string(struct log_line *line, const struct conversion *conversion, va_list *arguments)
{
    int precision = conversion->star ? va_arg(*arguments, int) : -1;
    const char *text = va_arg(*arguments, const char *);
    if (!text)
        text = "-";
    size_t room = sizeof(line->text);
    add(line, text, strnlen(text, precision >= 0 && (size_t)precision < room ? (size_t)precision : room));
}

static const char *add_conversion(struct log_line *line, const char *at, va_list *arguments)
{
    struct conversion conversion;
    char text[64];
    at = parse_conversion(&conversion, at);
    switch (conversion.type) {
    case '%':
        add(line, "%", 1);
        break;
    case 's':
        add_string(line, &conversion, arguments);
        break;
    case 'f':
    case 'g':
        snprintf(text, sizeof(text), conversion.spec, va_arg(*arguments, double));
        add(line, text, strlen(text));
        break;
    case 'p':
        snprintf(text, sizeof(text), "%p", va_arg(*arguments, void *));
        add(line, text, strlen(text));
        break;
    default:
        add_integer(line, &conversion, arguments);
    }
    return at;
}

/* NOLINTEND(clang-analyzer-valist.Uninitialized,bugprone-branch-clone) */

/* One decimal number and nothing else. */
static bool is_number(const char *format)
{
    size_t length = strcspn(format, " ");
    if (length < 2 || format[0] != '%' || !strchr("diu", format[length - 1]))
        return false;
    return strspn(format + 1, "lhzjt") == length - 2;
}

static const char *take_value(struct log_line *line, const char *format, va_list *arguments)
{
    char kind = is_number(format) ? VALUE_NUMBER : VALUE_TEXT;
    add(line, &kind, 1);
    while (*format && *format != ' ') {
        if (*format == '%')
            format = add_conversion(line, format, arguments);
        else
            add(line, format++, 1);
    }
    return format;
}

/* "key=%d other=%s": pairs apart by the blanks of the format, never by those of
 * a value. */
void log_line_take(struct log_line *line, const char *format, va_list *arguments)
{
    for (format += strspn(format, " "); *format && !line->cut; format += strspn(format, " ")) {
        size_t key_length = strcspn(format, "= ");
        size_t before = line->length;
        add(line, format, key_length);
        end_piece(line);
        if (line->cut || sizeof(line->text) - line->length < VALUE_BYTES_MIN) {
            line->length = (uint16_t)before; /* no room for a value: it never was there */
            line->cut = true;
            return;
        }
        format += key_length + (format[key_length] == '=');
        format = take_value(line, format, arguments);
        end_piece(line);
    }
}
