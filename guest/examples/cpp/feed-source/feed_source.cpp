// Reads a feed from one file: line n of feed.jsonl is the event with control version n.

#include <cerrno>
#include <charconv>
#include <clocale>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugin.h"

namespace {

using Event = exports_wasink_plugin_feed_source_control_event_t;

// The version of the last line that was read, and where the next one begins.
uint64_t version;
off_t offset;

// What is handed to the host is freed by it, so it must be a copy.
plugin_string_t copy(std::string_view text) {
    plugin_string_t copy;
    plugin_string_dup_n(&copy, text.data(), text.size());
    return copy;
}

void append_utf8(std::string &out, uint32_t code) {
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    constexpr uint8_t first[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(first[more] | code >> (6 * more));
    while (more-- > 0) out += static_cast<char>(0x80 | (code >> (6 * more) & 0x3f));
}

// Reads the parts of a line of JSON. What can't be read is not taken.
class Reader {
public:
    explicit Reader(std::string_view line) : rest_(line) {}

    bool at_end() const { return rest_.empty(); }

    bool take(std::string_view text) {
        if (!rest_.starts_with(text)) return false;
        rest_.remove_prefix(text.size());
        return true;
    }

    std::optional<std::string> string() {
        if (!take("\"")) return {};
        std::string out;
        while (!take("\"")) {
            if (rest_.empty() || static_cast<unsigned char>(rest_[0]) < 0x20) return {};
            if (take("\\")) {
                if (!escape(out)) return {};
            } else {
                out += rest_[0];
                rest_.remove_prefix(1);
            }
        }
        return out;
    }

    std::optional<int64_t> number() {
        std::string_view digits = rest_.substr(rest_.starts_with('-'));
        bool is_padded = digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
        int64_t number = 0;
        auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
        if (is_padded || error != std::errc()) return {};
        rest_.remove_prefix(end - rest_.data());
        return number;
    }

private:
    // What is behind a backslash.
    bool escape(std::string &out) {
        constexpr std::string_view letters = "\"\\/bfnrt", escaped = "\"\\/\b\f\n\r\t";
        if (take("u")) {
            auto code = hex();
            if (code && *code >= 0xd800 && *code < 0xe000) {
                // Half of a pair: the other one has to come next.
                auto low = *code < 0xdc00 && take("\\u") ? hex() : std::nullopt;
                if (!low || *low < 0xdc00 || *low >= 0xe000) return false;
                code = 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
            }
            if (code) append_utf8(out, *code);
            return code.has_value();
        }
        size_t found = rest_.empty() ? letters.npos : letters.find(rest_[0]);
        if (found == letters.npos) return false;
        out += escaped[found];
        rest_.remove_prefix(1);
        return true;
    }

    std::optional<uint32_t> hex() {
        if (rest_.size() < 4) return {};
        uint32_t code = 0;
        auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, code, 16);
        if (error != std::errc() || end != rest_.data() + 4) return {};
        rest_.remove_prefix(4);
        return code;
    }

    std::string_view rest_;
};

// Reads an event as the sink of this feed writes it: nothing between its parts, nothing besides.
bool read_event(std::string_view line, Event &event) {
    bool has_id = false, has_type = false;
    const struct {
        std::string_view key;
        bool &is_there;
        plugin_string_t *text;
        int64_t *number;
    } fields[] = {
        {"event_id", has_id, &event.event_id, nullptr},
        {"event_type", has_type, &event.event_type, nullptr},
        {"tenant_id", event.tenant_id.is_some, &event.tenant_id.val, nullptr},
        {"stack_id", event.stack_id.is_some, &event.stack_id.val, nullptr},
        {"version", event.version.is_some, nullptr, &event.version.val},
        {"base_version", event.base_version.is_some, nullptr, &event.base_version.val},
        {"artifact_ref", event.artifact_ref.is_some, &event.artifact_ref.val, nullptr},
        {"checksum", event.checksum.is_some, &event.checksum.val, nullptr},
        {"created_at", event.created_at.is_some, &event.created_at.val, nullptr},
    };
    auto read_field = [&](Reader &reader) {
        auto key = reader.string();
        if (!key || !reader.take(":")) return false;
        for (const auto &field : fields) {
            if (field.key != *key) continue;
            if (field.is_there) return false;
            if (field.number) {
                auto number = reader.number();
                if (number) *field.number = *number;
                return field.is_there = number.has_value();
            }
            auto text = reader.string();
            if (text) *field.text = copy(*text);
            return field.is_there = text.has_value();
        }
        return false;
    };
    Reader reader(line);
    if (!reader.take("{")) return false;
    do {
        if (!read_field(reader)) return false;
    } while (reader.take(","));
    return reader.take("}\n") && reader.at_end() && has_id && has_type;
}

// Reads up to `max` whole lines behind `since`, and says what is wrong if anything is.
const char *read_lines(std::FILE *file, uint64_t since, uint32_t max, std::vector<Event> &events) {
    static char *line;
    static size_t room;
    while (events.size() < max) {
        ssize_t len = getline(&line, &room, file);
        // What has no end is still being written.
        if (len <= 0 || line[len - 1] != '\n') break;
        version++;
        offset += len;
        if (version <= since) continue;
        events.push_back({});
        events.back().control_version = version;
        if (std::mbstowcs(nullptr, line, 0) == static_cast<size_t>(-1)) return "is not UTF-8";
        if (!read_event({line, static_cast<size_t>(len)}, events.back())) return "is no event";
    }
    return nullptr;
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
    about->asks.ptr[0].reason = copy("its file is there");
}

bool exports_wasink_plugin_feed_source_open(exports_wasink_plugin_feed_source_context_t *context,
                                            plugin_string_t *error) {
    exports_wasink_plugin_feed_source_context_free(context);
    // For mbstowcs, which tells whether a text is UTF-8.
    if (std::setlocale(LC_CTYPE, "C.UTF-8")) return true;
    *error = copy("there is no locale `C.UTF-8`");
    return false;
}

bool exports_wasink_plugin_feed_source_poll(uint64_t since, uint32_t max, uint64_t,
                                            exports_wasink_plugin_feed_source_list_control_event_t *events,
                                            exports_wasink_plugin_feed_source_failure_t *failure) {
    *events = {};
    // Opened anew each time: it may not be there yet, or be put in place of another.
    std::FILE *file = std::fopen("/data/feed.jsonl", "r");
    if (!file && errno == ENOENT) return true;
    if (since != version) version = offset = 0;
    std::vector<Event> read;
    const char *wrong = nullptr;
    bool is_read = file && !fseeko(file, offset, SEEK_SET);
    if (is_read) {
        wrong = read_lines(file, since, max, read);
        is_read = !std::ferror(file);
    }
    std::string error = std::strerror(errno);
    if (file) std::fclose(file);
    if (is_read && !wrong) {
        if (read.empty()) return true;
        *events = {static_cast<Event *>(std::malloc(read.size() * sizeof(Event))), read.size()};
        // Without memory the instance ends.
        if (!events->ptr) std::abort();
        std::memcpy(events->ptr, read.data(), read.size() * sizeof(Event));
        return true;
    }
    for (Event &event : read) exports_wasink_plugin_feed_source_control_event_free(&event);
    *failure = {};
    if (wrong) {
        failure->tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN;
        failure->val.broken = copy("line " + std::to_string(version) + " of `feed.jsonl` " + wrong);
    } else {
        // It may pass: the same again.
        failure->tag = WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY;
        failure->val.retry.reason = copy("`feed.jsonl`: " + error);
    }
    return false;
}

bool exports_wasink_plugin_feed_source_close(plugin_string_t *) { return true; }

} // extern "C"
