// Reads a feed from one file: line n of feed.jsonl is the event with control version n.

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

typedef exports_wasink_plugin_feed_source_control_event_t event_t;

// The version of the last line that was read, and where the next one begins.
static uint64_t version;
static off_t offset;

void exports_wasink_plugin_about_describe(exports_wasink_plugin_about_description_t *about) {
    // All of it is freed once it has been read, so it must come from malloc.
    *about = (exports_wasink_plugin_about_description_t){
        .acknowledges = EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_WRITE,
    };
    plugin_string_dup(&about->version, "1.0.0");
    plugin_string_dup(&about->summary, "a feed in one file");
    about->settings_schema.is_some = true;
    plugin_string_dup(&about->settings_schema.val, "{\"type\":\"object\",\"additionalProperties\":false}");
    about->asks.ptr = calloc(1, sizeof *about->asks.ptr);
    about->asks.ptr[0].need.tag = EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY;
    about->asks.ptr[0].required = true;
    plugin_string_dup(&about->asks.ptr[0].reason, "its file is there");
    about->asks.len = 1;
}

bool exports_wasink_plugin_feed_source_open(exports_wasink_plugin_feed_source_context_t *context,
                                            plugin_string_t *error) {
    exports_wasink_plugin_feed_source_context_free(context);
    // For mbstowcs, which tells whether a text is UTF-8.
    if (setlocale(LC_CTYPE, "C.UTF-8")) return true;
    plugin_string_dup(error, "there is no locale `C.UTF-8`");
    return false;
}

// Four hexadecimal digits; negative where they are none.
static long read_hex(const char *digits) {
    long code = 0;
    for (int i = 0; i < 4; i++) {
        static const char hex[] = "0123456789abcdef0123456789ABCDEF";
        const char *found = digits[i] ? strchr(hex, digits[i]) : NULL;
        if (!found) return -1;
        code = code * 16 + (found - hex) % 16;
    }
    return code;
}

// Reads what is behind a backslash and puts it, as UTF-8, where `out` is.
static bool read_escape(char **in, char **out) {
    static const char letters[] = "\"\\/bfnrt", escaped[] = "\"\\/\b\f\n\r\t";
    char letter = *(*in)++;
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (found) {
        *(*out)++ = escaped[found - letters];
        return true;
    }
    long code = letter == 'u' ? read_hex(*in) : -1;
    if (code < 0) return false;
    *in += 4;
    if (code >= 0xd800 && code < 0xe000) {
        // Half of a pair: the other one has to come next.
        long low = code < 0xdc00 && (*in)[0] == '\\' && (*in)[1] == 'u' ? read_hex(*in + 2) : -1;
        if (low < 0xdc00 || low >= 0xe000) return false;
        *in += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int first[] = {0, 0xc0, 0xe0, 0xf0};
    *(*out)++ = first[more] | code >> 6 * more;
    while (more-- > 0) *(*out)++ = 0x80 | (code >> 6 * more & 0x3f);
    return true;
}

// Reads a string where it stands: without its escapes it is not longer than with them.
static bool read_string(char **at, plugin_string_t *text) {
    char *in = *at, *out = in;
    if (*in++ != '"') return false;
    text->ptr = (uint8_t *)out;
    while (*in != '"') {
        if ((unsigned char)*in < 0x20) return false;
        if (*in != '\\') *out++ = *in++;
        else if (in++, !read_escape(&in, &out)) return false;
    }
    text->len = (uint8_t *)out - text->ptr;
    *at = in + 1;
    return true;
}

static bool read_number(char **at, int64_t *number) {
    const char *digits = *at + (**at == '-');
    bool is_number = *digits == '0' ? digits[1] < '0' || digits[1] > '9' : *digits > '0' && *digits <= '9';
    errno = 0;
    if (is_number) *number = strtoll(*at, at, 10);
    return is_number && !errno;
}

// Reads an event as the sink of this feed writes it: nothing between its parts, nothing besides.
static bool read_event(char *line, event_t *event) {
    bool has_id = false, has_type = false;
    const struct {
        const char *key;
        bool *is_there;
        plugin_string_t *text;
        int64_t *number;
    } fields[] = {
        {"event_id", &has_id, &event->event_id, NULL},
        {"event_type", &has_type, &event->event_type, NULL},
        {"tenant_id", &event->tenant_id.is_some, &event->tenant_id.val, NULL},
        {"stack_id", &event->stack_id.is_some, &event->stack_id.val, NULL},
        {"version", &event->version.is_some, NULL, &event->version.val},
        {"base_version", &event->base_version.is_some, NULL, &event->base_version.val},
        {"artifact_ref", &event->artifact_ref.is_some, &event->artifact_ref.val, NULL},
        {"checksum", &event->checksum.is_some, &event->checksum.val, NULL},
        {"created_at", &event->created_at.is_some, &event->created_at.val, NULL},
    };
    const size_t count = sizeof fields / sizeof *fields;
    char before = '{';
    for (char *at = line; *at == before; before = ',') {
        at++;
        plugin_string_t key, text;
        if (!read_string(&at, &key) || *at++ != ':') return false;
        size_t i = 0;
        while (i < count && (strlen(fields[i].key) != key.len || memcmp(fields[i].key, key.ptr, key.len))) i++;
        if (i == count || *fields[i].is_there) return false;
        *fields[i].is_there = true;
        if (fields[i].number) {
            if (!read_number(&at, fields[i].number)) return false;
        } else {
            if (!read_string(&at, &text)) return false;
            plugin_string_dup_n(fields[i].text, (char *)text.ptr, text.len);
        }
        if (!strcmp(at, "}\n")) return has_id && has_type;
    }
    return false;
}

// Reads up to `max` whole lines behind `since` and says what is wrong; NULL where nothing is.
static const char *read_lines(FILE *file, uint64_t since, uint32_t max,
                              exports_wasink_plugin_feed_source_list_control_event_t *events) {
    static char *line;
    static size_t line_room;
    size_t room = 0;
    while (events->len < max) {
        ssize_t len = getline(&line, &line_room, file);
        // What has no end is still being written.
        if (len <= 0 || line[len - 1] != '\n') break;
        version++;
        offset += len;
        if (version <= since) continue;
        if (events->len == room) {
            room = room ? 2 * room : 16;
            events->ptr = realloc(events->ptr, room * sizeof *events->ptr);
            // Without memory the instance ends.
            if (!events->ptr) abort();
        }
        event_t *event = &events->ptr[events->len++];
        *event = (event_t){.control_version = version};
        if (mbstowcs(NULL, line, 0) == (size_t)-1) return "is not UTF-8";
        if (!read_event(line, event)) return "is no event";
    }
    return NULL;
}

bool exports_wasink_plugin_feed_source_poll(uint64_t since, uint32_t max, uint64_t wait,
                                            exports_wasink_plugin_feed_source_list_control_event_t *events,
                                            exports_wasink_plugin_feed_source_failure_t *failure) {
    (void)wait;
    *events = (exports_wasink_plugin_feed_source_list_control_event_t){0};
    // Opened anew each time: it may not be there yet, or be put in place of another.
    FILE *file = fopen("/data/feed.jsonl", "r");
    if (!file && errno == ENOENT) return true;
    if (since != version) version = offset = 0;
    const char *wrong = NULL;
    bool is_read = file && !fseeko(file, offset, SEEK_SET);
    if (is_read) {
        wrong = read_lines(file, since, max, events);
        is_read = !ferror(file);
    }
    char reason[256];
    snprintf(reason, sizeof reason, "`feed.jsonl`: %s", strerror(errno));
    if (file) fclose(file);
    if (is_read && !wrong) return true;
    exports_wasink_plugin_feed_source_list_control_event_free(events);
    *failure = (exports_wasink_plugin_feed_source_failure_t){.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY};
    if (wrong) {
        snprintf(reason, sizeof reason, "line %" PRIu64 " of `feed.jsonl` %s", version, wrong);
        failure->tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN;
        plugin_string_dup(&failure->val.broken, reason);
    } else {
        // It may pass: the same again.
        plugin_string_dup(&failure->val.retry.reason, reason);
    }
    return false;
}

bool exports_wasink_plugin_feed_source_close(plugin_string_t *error) {
    (void)error;
    return true;
}
