// Keeps a feed in one file: line n of feed.jsonl is the event with control version n.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin.h"

static const char path[] = "/data/feed.jsonl";

// An event that is in the file. Its id is JSON text, as it stands there: equal ids have equal texts.
struct event {
    char *id;
    uint64_t version;
    struct event *before;
};

static int file = -1;
static struct event *last;
// All events, by their ids: a tree of `search.h`.
static void *events_by_id;

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
    plugin_string_dup(&about->asks.ptr[0].reason, "keeps its file there");
    about->asks.len = 1;
}

// Without memory the instance ends, and a new one goes on from the file. At address 0 there is memory
// here like anywhere else: what is written there is not noticed.
static void *must(void *memory) {
    if (!memory) abort();
    return memory;
}

static int by_id(const void *a, const void *b) {
    const struct event *left = a, *right = b;
    return strcmp(left->id, right->id);
}

// The event with this id, which becomes the last one where there is none yet. It keeps the id.
static struct event *find_or_add(char *id) {
    struct event *added = must(malloc(sizeof *added));
    *added = (struct event){id, last ? last->version + 1 : 1, last};
    struct event *found = *(struct event **)must(tsearch(added, &events_by_id, by_id));
    if (found == added) return last = added;
    free(id);
    free(added);
    return found;
}

static void forget_last(void) {
    struct event *forgotten = last;
    last = last->before;
    tdelete(forgotten, &events_by_id, by_id);
    free(forgotten->id);
    free(forgotten);
}

// The id in a line; NULL where this sink has not written it.
static char *id_of(const char *line) {
    static const char key[] = "{\"event_id\":";
    if (strncmp(line, key, strlen(key))) return NULL;
    const char *id = line + strlen(key), *end = id;
    if (*end++ != '"') return NULL;
    while (*end && *end != '"') end += *end == '\\' && end[1] ? 2 : 1;
    return *end ? must(strndup(id, end + 1 - id)) : NULL;
}

// Reads what is there, and says up to where the lines are whole. An error is in `reason`.
static off_t read_lines(FILE *lines, char *reason, size_t room) {
    off_t whole = 0;
    char *line = NULL;
    size_t line_room = 0;
    for (uint64_t n = 1;; n++) {
        ssize_t len = getline(&line, &line_room, lines);
        if (len <= 0 || line[len - 1] != '\n') break;
        char *id = id_of(line);
        if (!id || find_or_add(id)->version != n) {
            const char *what = id ? "has the `event_id` of one before" : "is no event";
            snprintf(reason, room, "line %" PRIu64 " of `feed.jsonl` %s", n, what);
            break;
        }
        whole += len;
    }
    if (ferror(lines)) snprintf(reason, room, "`feed.jsonl`: %s", strerror(errno));
    free(line);
    return whole;
}

bool exports_wasink_plugin_feed_sink_open(exports_wasink_plugin_feed_sink_context_t *context,
                                          plugin_string_t *error) {
    exports_wasink_plugin_feed_sink_context_free(context);
    char reason[256] = "";
    file = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    FILE *lines = file < 0 ? NULL : fopen(path, "r");
    if (lines) {
        off_t whole = read_lines(lines, reason, sizeof reason);
        fclose(lines);
        // What is behind the last whole line was cut off while it was written, and not acknowledged.
        if (!*reason && !ftruncate(file, whole)) return true;
    }
    if (!*reason) snprintf(reason, sizeof reason, "`feed.jsonl`: %s", strerror(errno));
    plugin_string_dup(error, reason);
    return false;
}

static void print_string(FILE *out, const plugin_string_t *text) {
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    putc('"', out);
    for (size_t i = 0; i < text->len; i++) {
        unsigned char c = text->ptr[i];
        const char *found = c ? strchr(escaped, c) : NULL;
        if (found) fprintf(out, "\\%c", letters[found - escaped]);
        else if (c < 0x20) fprintf(out, "\\u%04x", c);
        else putc(c, out);
    }
    putc('"', out);
}

static void print_text(FILE *out, const char *key, const plugin_option_string_t *text) {
    if (!text->is_some) return;
    fprintf(out, ",\"%s\":", key);
    print_string(out, &text->val);
}

static void print_number(FILE *out, const char *key, const plugin_option_s64_t *number) {
    if (number->is_some) fprintf(out, ",\"%s\":%" PRId64, key, number->val);
}

// Its version is the number of the line.
static void print_line(FILE *out, const char *id, const exports_wasink_plugin_feed_sink_control_event_t *event) {
    fprintf(out, "{\"event_id\":%s,\"event_type\":", id);
    print_string(out, &event->event_type);
    print_text(out, "tenant_id", &event->tenant_id);
    print_text(out, "stack_id", &event->stack_id);
    print_number(out, "version", &event->version);
    print_number(out, "base_version", &event->base_version);
    print_text(out, "artifact_ref", &event->artifact_ref);
    print_text(out, "checksum", &event->checksum);
    print_text(out, "created_at", &event->created_at);
    fputs("}\n", out);
}

static char *id_text(const plugin_string_t *id) {
    char *text = NULL;
    size_t len;
    FILE *out = must(open_memstream(&text, &len));
    print_string(out, id);
    if (fclose(out)) abort();
    return text;
}

// Appends all of it and makes it durable, or nothing.
static bool append(const char *lines, size_t len, exports_wasink_plugin_feed_sink_failure_t *failure) {
    char reason[256];
    // The seek has the next write work after one that failed: an error closes the stream into a file.
    off_t length = lseek(file, 0, SEEK_END);
    bool written = length >= 0;
    for (size_t done = 0; written && done < len;) {
        ssize_t more = write(file, lines + done, len - done);
        written = more > 0;
        if (written) done += more;
    }
    if (written && !fsync(file)) return true;
    snprintf(reason, sizeof reason, "`feed.jsonl`: %s", strerror(errno));
    if (length >= 0 && ftruncate(file, length)) {
        // Lines are there that have no versions. The next instance reads them.
        *failure = (exports_wasink_plugin_feed_sink_failure_t){.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN};
        plugin_string_dup(&failure->val.broken, reason);
    } else {
        // It may pass: the same again.
        *failure = (exports_wasink_plugin_feed_sink_failure_t){.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY};
        plugin_string_dup(&failure->val.retry.reason, reason);
    }
    return false;
}

bool exports_wasink_plugin_feed_sink_append(exports_wasink_plugin_feed_sink_list_control_event_t *events,
                                            exports_wasink_plugin_feed_sink_list_result_u64_failure_t *results,
                                            exports_wasink_plugin_feed_sink_failure_t *failure) {
    struct event *before = last;
    results->ptr = must(calloc(events->len, sizeof *results->ptr));
    results->len = events->len;
    char *lines = NULL;
    size_t len = 0;
    FILE *out = must(open_memstream(&lines, &len));
    for (size_t i = 0; i < events->len; i++) {
        struct event *last_one = last, *event = find_or_add(id_text(&events->ptr[i].event_id));
        if (last != last_one) print_line(out, event->id, &events->ptr[i]);
        results->ptr[i].val.ok = event->version;
    }
    if (fclose(out)) abort();
    bool appended = append(lines, len, failure);
    free(lines);
    exports_wasink_plugin_feed_sink_list_control_event_free(events);
    if (!appended) {
        // Of all events: those that are known get their versions when it is tried again.
        free(results->ptr);
        while (last != before) forget_last();
    }
    return appended;
}

bool exports_wasink_plugin_feed_sink_close(plugin_string_t *error) {
    (void)error;
    close(file);
    return true;
}
