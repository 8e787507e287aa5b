//! Keeps a feed in one file: line n of feed.jsonl is the event with control version n.

const std = @import("std");
const c = @import("bindings/plugin.zig");

const Event = c.exports_wasink_plugin_feed_sink_control_event_t;
const Result = c.exports_wasink_plugin_feed_sink_result_u64_failure_t;

const gpa = std.heap.c_allocator;
var threaded: std.Io.Threaded = .init_single_threaded;

var file: std.Io.File = undefined;
/// The ids of the events in the file, in its order: a version is one more than an index.
var ids: std.array_hash_map.String(void) = .empty;

export fn exports_wasink_plugin_about_describe(about: *c.exports_wasink_plugin_about_description_t) void {
    about.* = .{
        .version = copy("1.0.0"),
        .summary = copy("a feed in one file"),
        .settings_schema = .{ .is_some = true, .val = copy(
            \\{"type":"object","additionalProperties":false}
        ) },
        .acknowledges = c.EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_WRITE,
        .asks = .{ .ptr = list(c.exports_wasink_plugin_about_ask_t, 1), .len = 1 },
    };
    about.asks.ptr[0] = .{
        .need = .{ .tag = c.EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY },
        .required = true,
        .reason = copy("keeps its file there"),
    };
}

export fn exports_wasink_plugin_feed_sink_open(
    context: *c.exports_wasink_plugin_feed_sink_context_t,
    failure: *c.plugin_string_t,
) bool {
    context.free();
    forgetAfter(0);
    open() catch |err| {
        failure.* = switch (err) {
            error.NoEvent => because(
                "line {d} of `feed.jsonl` is no event, or one that was there before",
                .{ids.count() + 1},
            ),
            else => because("`feed.jsonl`: {t}", .{err}),
        };
        return false;
    };
    return true;
}

export fn exports_wasink_plugin_feed_sink_append(
    events: *c.exports_wasink_plugin_feed_sink_list_control_event_t,
    results: *c.exports_wasink_plugin_feed_sink_list_result_u64_failure_t,
    failure: *c.exports_wasink_plugin_feed_sink_failure_t,
) bool {
    defer events.free();
    results.* = .{ .ptr = list(Result, events.len), .len = events.len };
    append(events.ptr[0..events.len], results.ptr[0..results.len]) catch |err| {
        // Of all events: those that are known get their versions when it is tried again.
        results.free();
        const reason = because("`feed.jsonl`: {t}", .{err});
        failure.* = switch (err) {
            // The next instance reads what is there.
            error.NotCutBack => .{
                .tag = c.WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN,
                .val = .{ .broken = reason },
            },
            // It may pass: the same again.
            else => .{
                .tag = c.WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY,
                .val = .{ .retry = .{ .reason = reason } },
            },
        };
        return false;
    };
    return true;
}

export fn exports_wasink_plugin_feed_sink_close(_: *c.plugin_string_t) bool {
    file.close(threaded.io());
    return true;
}

fn open() !void {
    const io = threaded.io();
    file = try (try data()).createFile(io, "feed.jsonl", .{ .read = true, .truncate = false });
    const errno = std.os.wasi.fd_fdstat_set_flags(file.handle, .{ .APPEND = true });
    if (errno != .SUCCESS) return error.CannotAppend;
    var buffer: [64 << 10]u8 = undefined;
    var reader = file.reader(io, &buffer);
    var line: std.Io.Writer.Allocating = .init(gpa);
    defer line.deinit();
    var whole: u64 = 0;
    while (true) {
        line.clearRetainingCapacity();
        const length = reader.interface.streamDelimiterEnding(&line.writer, '\n') catch |err|
            return reader.err orelse err;
        _ = reader.interface.takeByte() catch |err| switch (err) {
            // What is behind the last whole line was cut off while it was written, and not acknowledged.
            error.EndOfStream => return file.setLength(io, whole),
            error.ReadFailed => return reader.err orelse err,
        };
        try readLine(line.written());
        whole += length + 1;
    }
}

fn readLine(line: []const u8) !void {
    const parsed = std.json.parseFromSlice(std.json.Value, gpa, line, .{}) catch return error.NoEvent;
    defer parsed.deinit();
    if (parsed.value != .object) return error.NoEvent;
    const id = parsed.value.object.get("event_id") orelse return error.NoEvent;
    if (id != .string or ids.contains(id.string)) return error.NoEvent;
    try remember(id.string);
}

fn append(events: []const Event, results: []Result) !void {
    const before = ids.count();
    errdefer forgetAfter(before);
    var lines: std.Io.Writer.Allocating = .init(gpa);
    defer lines.deinit();
    for (events, results) |event, *result| {
        const id = text(event.event_id);
        if (!ids.contains(id)) {
            try writeLine(&lines.writer, event);
            try remember(id);
        }
        result.* = .{ .val = .{ .ok = ids.getIndex(id).? + 1 } };
    }
    try appendLines(lines.written());
}

/// Its version is the number of the line.
fn writeLine(out: *std.Io.Writer, event: Event) !void {
    try std.json.Stringify.value(.{
        .event_id = text(event.event_id),
        .event_type = text(event.event_type),
        .tenant_id = optional(event.tenant_id),
        .stack_id = optional(event.stack_id),
        .version = if (event.version.is_some) event.version.val else null,
        .base_version = if (event.base_version.is_some) event.base_version.val else null,
        .artifact_ref = optional(event.artifact_ref),
        .checksum = optional(event.checksum),
        .created_at = optional(event.created_at),
    }, .{ .emit_null_optional_fields = false }, out);
    try out.writeByte('\n');
}

/// Appends all of it and makes it durable, or nothing.
fn appendLines(lines: []const u8) !void {
    // The seek has the next write work after one that failed: an error closes the stream into a file.
    var length: u64 = undefined;
    if (std.os.wasi.fd_seek(file.handle, 0, .END, &length) != .SUCCESS) return error.NotSeekable;
    writeAndSync(lines) catch |err| {
        file.setLength(threaded.io(), length) catch return error.NotCutBack;
        return err;
    };
}

fn writeAndSync(lines: []const u8) !void {
    try file.writeStreamingAll(threaded.io(), lines);
    try file.sync(threaded.io());
}

fn remember(id: []const u8) !void {
    const kept = try gpa.dupe(u8, id);
    errdefer gpa.free(kept);
    try ids.put(gpa, kept, {});
}

fn forgetAfter(count: usize) void {
    while (ids.count() > count) gpa.free(ids.pop().?.key);
}

/// The directory that the operator has granted.
fn data() !std.Io.Dir {
    var arena: std.heap.ArenaAllocator = .init(gpa);
    defer arena.deinit();
    const granted: std.process.Preopens = try .init(arena.allocator());
    return (granted.get("/data") orelse return error.NotGranted).dir;
}

fn because(comptime words: []const u8, args: anytype) c.plugin_string_t {
    var buffer: [256]u8 = undefined;
    return copy(std.fmt.bufPrint(&buffer, words, args) catch words);
}

/// What is handed to the host is freed by it, so it must be a copy.
fn copy(bytes: []const u8) c.plugin_string_t {
    var copied: c.plugin_string_t = undefined;
    c.plugin_string_dup_n(&copied, bytes.ptr, bytes.len);
    return copied;
}

/// The same, for a list. Without memory the instance ends, and a new one goes on from the file.
fn list(T: type, len: usize) [*]T {
    const items = gpa.alloc(T, len) catch @panic("out of memory");
    @memset(items, .{});
    return items.ptr;
}

fn text(string: c.plugin_string_t) []const u8 {
    return string.ptr[0..string.len];
}

fn optional(option: c.plugin_option_string_t) ?[]const u8 {
    return if (option.is_some) text(option.val) else null;
}
