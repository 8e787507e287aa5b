// Appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had since the
// flush before.

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "plugin.h"

namespace {

// Why something was not done, in words, and whether it is of use to try it again; nothing where it was.
struct Why {
    std::string reason;
    bool is_broken = false;
};
using Error = std::optional<Why>;

// A file of lines that is appended to.
class Lines {
public:
    explicit Lines(const char *name) : name_(name) {}

    Error open() {
        file_ = ::open(("/data/" + name_).c_str(), O_RDWR | O_CREAT | O_APPEND, 0600);
        struct stat stat;
        if (file_ < 0 || fstat(file_, &stat)) return error();
        // Half a line at the end is of a write that was cut off: it was never acknowledged, and its
        // record comes again.
        off_t whole = stat.st_size;
        for (char last = 0; whole > 0; whole--) {
            if (pread(file_, &last, 1, whole - 1) != 1) return error();
            if (last == '\n') break;
        }
        if (whole < stat.st_size && ftruncate(file_, whole)) return error();
        return {};
    }

    // Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
    Error append(std::string_view lines, bool durable) {
        // The seek has the next write work after one that failed: an error closes the stream into a
        // file.
        off_t length = lseek(file_, 0, SEEK_END);
        if (length < 0) return error();
        while (!lines.empty()) {
            ssize_t written = ::write(file_, lines.data(), lines.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return cut(length);
            lines.remove_prefix(written);
        }
        if (durable && fsync(file_)) return cut(length);
        return {};
    }

    Error sync() { return fsync(file_) ? error() : Error{}; }

    void close() { ::close(file_); }

private:
    Why error() const { return {name_ + ": " + std::strerror(errno)}; }

    Why cut(off_t length) {
        Why why = error();
        // Nothing is to be appended to half a line: the next instance cuts it off as it opens.
        why.is_broken = ftruncate(file_, length);
        return why;
    }

    std::string name_;
    int file_ = -1;
};

Lines usage("usage.jsonl"), tenants("tenants.jsonl");
std::map<std::string, uint64_t, std::less<>> counts;

std::string_view view(const plugin_string_t &text) {
    return {reinterpret_cast<const char *>(text.ptr), text.len};
}

// What is handed to the host is freed by it, so it must be a copy.
plugin_string_t copy(const std::string &text) {
    plugin_string_t copy;
    plugin_string_dup_n(&copy, text.data(), text.size());
    return copy;
}

bool failed(wasink_plugin_lifecycle_failure_t *failure, const Why &why) {
    *failure = {};
    if (why.is_broken) {
        failure->tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN;
        failure->val.broken = copy(why.reason);
    } else {
        // It may pass: the same again.
        failure->tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY;
        failure->val.retry.reason = copy(why.reason);
    }
    return false;
}

std::string json(std::string_view text) {
    std::string out = "\"";
    for (unsigned char c : text) {
        char escaped[8] = {static_cast<char>(c), 0};
        if (c == '"' || c == '\\') std::snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c < 0x20) std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
        out += escaped;
    }
    return out + '"';
}

} // namespace

extern "C" {

void exports_wasink_plugin_about_describe(exports_wasink_plugin_about_description_t *about) {
    using Stream = exports_wasink_plugin_about_stream_t;
    using Ask = exports_wasink_plugin_about_ask_t;
    *about = {};
    about->version = copy("1.0.0");
    about->summary = copy("usage as JSON Lines, and how many records each tenant had");
    about->streams = {static_cast<Stream *>(std::malloc(sizeof(Stream))), 1};
    about->streams.ptr[0] = WASINK_PLUGIN_RECORDS_STREAM_USAGE;
    about->settings_schema = {true, copy(R"({"type":"object","additionalProperties":false})")};
    about->acknowledges = EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_FLUSH;
    about->asks = {static_cast<Ask *>(std::calloc(1, sizeof(Ask))), 1};
    about->asks.ptr[0].need.tag = EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY;
    about->asks.ptr[0].required = true;
    about->asks.ptr[0].reason = copy("keeps its files there");
}

bool exports_wasink_plugin_sink_open(exports_wasink_plugin_sink_context_t *context, plugin_string_t *error) {
    exports_wasink_plugin_sink_context_free(context);
    counts.clear();
    for (Lines *lines : {&usage, &tenants}) {
        if (Error why = lines->open()) {
            *error = copy(why->reason);
            return false;
        }
    }
    plugin_string_t message, key, name;
    plugin_string_set(&message, "open");
    plugin_string_set(&key, "file");
    plugin_string_set(&name, "usage.jsonl");
    wasink_plugin_log_tuple2_string_value_t field{key, {}};
    field.f1.tag = WASINK_PLUGIN_LOG_VALUE_TEXT;
    field.f1.val.text = name;
    wasink_plugin_log_list_tuple2_string_value_t fields{&field, 1};
    wasink_plugin_log_write(WASINK_PLUGIN_LOG_LEVEL_INFO, &message, &fields);
    return true;
}

bool exports_wasink_plugin_sink_write(exports_wasink_plugin_sink_borrow_batch_t batch,
                                      exports_wasink_plugin_sink_list_exception_t *exceptions,
                                      exports_wasink_plugin_sink_failure_t *failure) {
    *exceptions = {};
    plugin_list_u8_t lines;
    wasink_plugin_batches_method_batch_encode(batch, WASINK_PLUGIN_BATCHES_ENCODING_JSONL, &lines);
    Error why = usage.append({reinterpret_cast<char *>(lines.ptr), lines.len}, false);
    plugin_list_u8_free(&lines);
    if (why) return failed(failure, *why);

    wasink_plugin_batches_usage_columns_t columns;
    wasink_plugin_batches_wrong_stream_t wrong;
    if (!wasink_plugin_batches_method_batch_usage_columns(batch, &columns, &wrong)) return true;
    // A tenant is a small number here. Its name is looked up once a batch, not once a record.
    std::vector<uint64_t> records(columns.tenant.values.len);
    for (size_t row = 0; row < columns.tenant.codes.len; row++) records[columns.tenant.codes.ptr[row]]++;
    for (size_t i = 0; i < records.size(); i++) {
        if (records[i]) counts[std::string(view(columns.tenant.values.ptr[i]))] += records[i];
    }
    wasink_plugin_batches_usage_columns_free(&columns);
    return true;
}

bool exports_wasink_plugin_sink_flush(exports_wasink_plugin_sink_failure_t *failure) {
    if (counts.empty()) return true;
    if (Error why = usage.sync()) return failed(failure, *why);
    std::string lines;
    for (const auto &[tenant, records] : counts) {
        lines += "{\"tenant\":" + json(tenant) + ",\"records\":" + std::to_string(records) + "}\n";
    }
    if (Error why = tenants.append(lines, true)) return failed(failure, *why);
    // Only now: a flush that fails is asked for again.
    counts.clear();
    return true;
}

bool exports_wasink_plugin_sink_close(plugin_string_t *) {
    usage.close();
    tenants.close();
    return true;
}

} // extern "C"
