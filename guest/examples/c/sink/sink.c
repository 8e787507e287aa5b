// Appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had since the
// flush before.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin.h"

struct count {
    char *tenant;
    size_t len;
    uint64_t records;
};

// A file of lines that is appended to.
struct lines {
    const char *name, *path;
    int file;
};

static struct lines usage = {"usage.jsonl", "/data/usage.jsonl", -1};
static struct lines tenants = {"tenants.jsonl", "/data/tenants.jsonl", -1};
static struct count *counts;
static size_t counted, room;

void exports_wasink_plugin_about_describe(exports_wasink_plugin_about_description_t *about) {
    // All of it is freed once it has been read, so it must come from malloc.
    *about = (exports_wasink_plugin_about_description_t){
        .acknowledges = EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_FLUSH,
    };
    plugin_string_dup(&about->version, "1.0.0");
    plugin_string_dup(&about->summary, "usage as JSON Lines, and how many records each tenant had");
    about->streams.ptr = malloc(sizeof *about->streams.ptr);
    about->streams.ptr[0] = WASINK_PLUGIN_RECORDS_STREAM_USAGE;
    about->streams.len = 1;
    about->settings_schema.is_some = true;
    plugin_string_dup(&about->settings_schema.val, "{\"type\":\"object\",\"additionalProperties\":false}");
    about->asks.ptr = calloc(1, sizeof *about->asks.ptr);
    about->asks.ptr[0].need.tag = EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY;
    about->asks.ptr[0].required = true;
    plugin_string_dup(&about->asks.ptr[0].reason, "keeps its files there");
    about->asks.len = 1;
}

// Without memory the instance ends: what it has not flushed comes again. At address 0 there is memory
// here like anywhere else: what is written there is not noticed.
static void *must(void *memory) {
    if (!memory) abort();
    return memory;
}

// Half a line at the end is of a write that was cut off: it was never acknowledged, and its record
// comes again.
static bool open_lines(struct lines *lines) {
    lines->file = open(lines->path, O_RDWR | O_CREAT | O_APPEND, 0600);
    struct stat stat;
    if (lines->file < 0 || fstat(lines->file, &stat)) return false;
    off_t whole = stat.st_size;
    for (char last; whole > 0; whole--) {
        if (pread(lines->file, &last, 1, whole - 1) != 1) return false;
        if (last == '\n') break;
    }
    return whole == stat.st_size || !ftruncate(lines->file, whole);
}

// It may pass: the same again.
static bool retry(const struct lines *lines, wasink_plugin_lifecycle_failure_t *failure) {
    char reason[256];
    snprintf(reason, sizeof reason, "%s: %s", lines->name, strerror(errno));
    *failure = (wasink_plugin_lifecycle_failure_t){.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY};
    plugin_string_dup(&failure->val.retry.reason, reason);
    return false;
}

// Cuts off what was appended, and says why.
static bool cut(const struct lines *lines, off_t length, wasink_plugin_lifecycle_failure_t *failure) {
    retry(lines, failure);
    if (!ftruncate(lines->file, length)) return false;
    // Nothing is to be appended to half a line: the next instance cuts it off as it opens.
    plugin_string_t reason = failure->val.retry.reason;
    *failure = (wasink_plugin_lifecycle_failure_t){.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN};
    failure->val.broken = reason;
    return false;
}

// Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
static bool append(const struct lines *lines, const void *bytes, size_t len, bool durable,
                   wasink_plugin_lifecycle_failure_t *failure) {
    // The seek has the next write work after one that failed: an error closes the stream into a file.
    off_t length = lseek(lines->file, 0, SEEK_END);
    if (length < 0) return retry(lines, failure);
    for (size_t done = 0; done < len;) {
        ssize_t written = write(lines->file, (const char *)bytes + done, len - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return cut(lines, length, failure);
        done += written;
    }
    return !durable || !fsync(lines->file) || cut(lines, length, failure);
}

static void forget_counts(void) {
    for (size_t i = 0; i < counted; i++) free(counts[i].tenant);
    counted = 0;
}

static void count(const plugin_string_t *tenant, uint64_t records) {
    for (size_t i = 0; i < counted; i++) {
        if (counts[i].len == tenant->len && !memcmp(counts[i].tenant, tenant->ptr, tenant->len)) {
            counts[i].records += records;
            return;
        }
    }
    if (counted == room) counts = must(realloc(counts, (room = room ? 2 * room : 16) * sizeof *counts));
    char *copy = must(malloc(tenant->len + 1));
    memcpy(copy, tenant->ptr, tenant->len);
    counts[counted++] = (struct count){copy, tenant->len, records};
}

static int by_tenant(const void *a, const void *b) {
    const struct count *left = a, *right = b;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->tenant, right->tenant, len);
    return order ? order : (left->len > right->len) - (left->len < right->len);
}

static void print_json_string(FILE *out, const char *text, size_t len) {
    putc('"', out);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = text[i];
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c < 0x20) fprintf(out, "\\u%04x", c);
        else putc(c, out);
    }
    putc('"', out);
}

bool exports_wasink_plugin_sink_open(exports_wasink_plugin_sink_context_t *context, plugin_string_t *error) {
    exports_wasink_plugin_sink_context_free(context);
    forget_counts();
    const struct lines *failed = !open_lines(&usage) ? &usage : !open_lines(&tenants) ? &tenants : NULL;
    if (failed) {
        char reason[256];
        snprintf(reason, sizeof reason, "%s: %s", failed->name, strerror(errno));
        plugin_string_dup(error, reason);
        return false;
    }
    plugin_string_t message, key;
    plugin_string_set(&message, "open");
    plugin_string_set(&key, "file");
    wasink_plugin_log_value_t value = {.tag = WASINK_PLUGIN_LOG_VALUE_TEXT};
    plugin_string_set(&value.val.text, usage.name);
    wasink_plugin_log_tuple2_string_value_t field = {key, value};
    wasink_plugin_log_list_tuple2_string_value_t fields = {&field, 1};
    wasink_plugin_log_write(WASINK_PLUGIN_LOG_LEVEL_INFO, &message, &fields);
    return true;
}

bool exports_wasink_plugin_sink_write(exports_wasink_plugin_sink_borrow_batch_t batch,
                                      exports_wasink_plugin_sink_list_exception_t *exceptions,
                                      exports_wasink_plugin_sink_failure_t *failure) {
    *exceptions = (exports_wasink_plugin_sink_list_exception_t){0};
    plugin_list_u8_t lines;
    wasink_plugin_batches_method_batch_encode(batch, WASINK_PLUGIN_BATCHES_ENCODING_JSONL, &lines);
    bool appended = append(&usage, lines.ptr, lines.len, false, failure);
    plugin_list_u8_free(&lines);

    wasink_plugin_batches_usage_columns_t columns;
    wasink_plugin_batches_wrong_stream_t wrong;
    if (appended && wasink_plugin_batches_method_batch_usage_columns(batch, &columns, &wrong)) {
        // A tenant is a small number here. Its name is looked up once a batch, not once a record.
        uint64_t *records = must(calloc(columns.tenant.values.len, sizeof *records));
        for (size_t row = 0; row < columns.tenant.codes.len; row++) records[columns.tenant.codes.ptr[row]]++;
        for (size_t i = 0; i < columns.tenant.values.len; i++) {
            if (records[i]) count(&columns.tenant.values.ptr[i], records[i]);
        }
        free(records);
        wasink_plugin_batches_usage_columns_free(&columns);
    }
    return appended;
}

bool exports_wasink_plugin_sink_flush(exports_wasink_plugin_sink_failure_t *failure) {
    if (!counted) return true;
    if (fsync(usage.file)) return retry(&usage, failure);
    qsort(counts, counted, sizeof *counts, by_tenant);
    char *lines = NULL;
    size_t len = 0;
    FILE *out = must(open_memstream(&lines, &len));
    for (size_t i = 0; i < counted; i++) {
        fputs("{\"tenant\":", out);
        print_json_string(out, counts[i].tenant, counts[i].len);
        fprintf(out, ",\"records\":%" PRIu64 "}\n", counts[i].records);
    }
    if (fclose(out)) abort();
    bool appended = append(&tenants, lines, len, true, failure);
    free(lines);
    // Only now: a flush that fails is asked for again.
    if (appended) forget_counts();
    return appended;
}

bool exports_wasink_plugin_sink_close(plugin_string_t *error) {
    (void)error;
    close(usage.file);
    close(tenants.file);
    return true;
}
