// Keeps a feed in one file: line n of feed.jsonl is the event with control version n.

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <unordered_map>
#include <vector>

#include "plugin.h"

namespace {

using Event = exports_wasink_plugin_feed_sink_control_event_t;
using Failure = exports_wasink_plugin_feed_sink_failure_t;

int file = -1;
// Of each event in the file, by its id: as JSON text, as it stands there. Equal ids have equal texts.
std::unordered_map<std::string, uint64_t> versions;

// What is handed to the host is freed by it, so it must be a copy.
plugin_string_t copy(std::string_view text) {
    plugin_string_t copy;
    plugin_string_dup_n(&copy, text.data(), text.size());
    return copy;
}

std::string error() { return std::string("`feed.jsonl`: ") + std::strerror(errno); }

std::string json(const plugin_string_t &text) {
    constexpr std::string_view escaped = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
    std::string out = "\"";
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (size_t found = escaped.find(c); found != escaped.npos) {
            out += {'\\', letters[found]};
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char code[8];
            std::snprintf(code, sizeof code, "\\u%04x", c);
            out += code;
        } else {
            out += c;
        }
    }
    return out + '"';
}

// Its version is the number of the line.
std::string line(const std::string &id, const Event &event) {
    std::string out = "{\"event_id\":" + id + ",\"event_type\":" + json(event.event_type);
    auto key = [&](const char *name) { return out += std::string(",\"") + name + "\":"; };
    auto text = [&](const char *name, const plugin_option_string_t &text) {
        if (text.is_some) key(name), out += json(text.val);
    };
    auto number = [&](const char *name, const plugin_option_s64_t &number) {
        if (number.is_some) key(name), out += std::to_string(number.val);
    };
    text("tenant_id", event.tenant_id);
    text("stack_id", event.stack_id);
    number("version", event.version);
    number("base_version", event.base_version);
    text("artifact_ref", event.artifact_ref);
    text("checksum", event.checksum);
    text("created_at", event.created_at);
    return out + "}\n";
}

// The id in a line, as it stands there; empty where this sink has not written it.
std::string_view id_of(std::string_view line) {
    constexpr std::string_view key = "{\"event_id\":";
    if (!line.starts_with(key)) return {};
    line.remove_prefix(key.size());
    if (!line.starts_with('"')) return {};
    for (size_t end = 1; end < line.size(); end++) {
        if (line[end] == '"') return line.substr(0, end + 1);
        if (line[end] == '\\') end++;
    }
    return {};
}

// Reads what is there, and cuts off what is behind the last whole line: that was cut off while it was
// written, and not acknowledged. Says why it can't, if it can't.
std::optional<std::string> open_file() {
    file = open("/data/feed.jsonl", O_RDWR | O_CREAT | O_APPEND, 0600);
    if (file < 0) return error();
    std::string rest;
    off_t whole = 0;
    versions.clear();
    for (std::vector<char> piece(1 << 16);;) {
        ssize_t len = read(file, piece.data(), piece.size());
        if (len < 0) return error();
        if (len == 0) break;
        rest.append(piece.data(), len);
        size_t begin = 0;
        for (size_t end; (end = rest.find('\n', begin)) != rest.npos; begin = end + 1) {
            std::string id(id_of(std::string_view(rest).substr(begin, end - begin)));
            auto next = versions.size() + 1;
            if (id.empty() || !versions.emplace(std::move(id), next).second) {
                return "line " + std::to_string(next) + " of `feed.jsonl` is no event, or one that was there before";
            }
        }
        rest.erase(0, begin);
        whole += begin;
    }
    if (ftruncate(file, whole)) return error();
    return {};
}

// Appends all of it and makes it durable, or nothing.
std::optional<Failure> append(std::string_view lines) {
    Failure failure{};
    // The seek has the next write work after one that failed: an error closes the stream into a file.
    off_t length = lseek(file, 0, SEEK_END);
    bool written = length >= 0;
    while (written && !lines.empty()) {
        ssize_t more = write(file, lines.data(), lines.size());
        written = more > 0;
        if (written) lines.remove_prefix(more);
    }
    if (written && !fsync(file)) return {};
    std::string reason = error();
    if (length >= 0 && ftruncate(file, length)) {
        // Lines are there that have no versions. The next instance reads them.
        failure.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN;
        failure.val.broken = copy(reason);
    } else {
        // It may pass: the same again.
        failure.tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY;
        failure.val.retry.reason = copy(reason);
    }
    return failure;
}

} // namespace

extern "C" {

void exports_wasink_plugin_about_describe(exports_wasink_plugin_about_description_t *about) {
    using Ask = exports_wasink_plugin_about_ask_t;
    *about = {};
    about->version = copy("1.0.0");
    about->summary = copy("a feed in one file");
    about->settings_schema = {true, copy(R"({"type":"object","additionalProperties":false})")};
    about->acknowledges = EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_WRITE;
    about->asks = {static_cast<Ask *>(std::calloc(1, sizeof(Ask))), 1};
    about->asks.ptr[0].need.tag = EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY;
    about->asks.ptr[0].required = true;
    about->asks.ptr[0].reason = copy("keeps its file there");
}

bool exports_wasink_plugin_feed_sink_open(exports_wasink_plugin_feed_sink_context_t *context,
                                          plugin_string_t *error) {
    exports_wasink_plugin_feed_sink_context_free(context);
    auto why = open_file();
    if (why) *error = copy(*why);
    return !why;
}

bool exports_wasink_plugin_feed_sink_append(exports_wasink_plugin_feed_sink_list_control_event_t *events,
                                            exports_wasink_plugin_feed_sink_list_result_u64_failure_t *results,
                                            exports_wasink_plugin_feed_sink_failure_t *failure) {
    using Result = exports_wasink_plugin_feed_sink_result_u64_failure_t;
    std::string lines;
    std::vector<std::string> added;
    std::vector<uint64_t> given;
    for (size_t i = 0; i < events->len; i++) {
        std::string id = json(events->ptr[i].event_id);
        auto [known, is_new] = versions.emplace(id, versions.size() + 1);
        given.push_back(known->second);
        if (!is_new) continue;
        lines += line(id, events->ptr[i]);
        added.push_back(std::move(id));
    }
    exports_wasink_plugin_feed_sink_list_control_event_free(events);
    if (auto failed = append(lines)) {
        // Of all events: those that are known get their versions when it is tried again.
        *failure = *failed;
        for (const auto &id : added) versions.erase(id);
        return false;
    }
    *results = {static_cast<Result *>(std::calloc(given.size(), sizeof(Result))), given.size()};
    // Without memory the instance ends, and a new one goes on from the file.
    if (!results->ptr) std::abort();
    for (size_t i = 0; i < given.size(); i++) results->ptr[i].val.ok = given[i];
    return true;
}

bool exports_wasink_plugin_feed_sink_close(plugin_string_t *) {
    close(file);
    return true;
}

} // extern "C"
