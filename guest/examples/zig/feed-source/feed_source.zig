//! Reads a feed from one file: line n of feed.jsonl is the event with control version n.

const std = @import("std");
const c = @import("bindings/plugin.zig");

const Event = c.exports_wasink_plugin_feed_source_control_event_t;

const gpa = std.heap.c_allocator;
var threaded: std.Io.Threaded = .init_single_threaded;

/// The version of the last line that was read, and where the next one begins.
var version: u64 = 0;
var offset: u64 = 0;

export fn exports_wasink_plugin_about_describe(about: *c.exports_wasink_plugin_about_description_t) void {
    const asks = gpa.alloc(c.exports_wasink_plugin_about_ask_t, 1) catch @panic("out of memory");
    asks[0] = .{
        .need = .{ .tag = c.EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY },
        .required = true,
        .reason = copy("its file is there"),
    };
    about.* = .{
        .version = copy("1.0.0"),
        .summary = copy("a feed in one file"),
        .settings_schema = .{ .is_some = true, .val = copy(
            \\{"type":"object","additionalProperties":false}
        ) },
        .acknowledges = c.EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_WRITE,
        .asks = .{ .ptr = asks.ptr, .len = asks.len },
    };
}

export fn exports_wasink_plugin_feed_source_open(
    context: *c.exports_wasink_plugin_feed_source_context_t,
    _: *c.plugin_string_t,
) bool {
    context.free();
    version = 0;
    offset = 0;
    return true;
}

export fn exports_wasink_plugin_feed_source_poll(
    since: u64,
    max: u32,
    _: u64,
    events: *c.exports_wasink_plugin_feed_source_list_control_event_t,
    failure: *c.exports_wasink_plugin_feed_source_failure_t,
) bool {
    const read = poll(since, max) catch |err| {
        failure.* = switch (err) {
            error.NoEvent => .{
                .tag = c.WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN,
                .val = .{ .broken = because("line {d} of `feed.jsonl` is no event", .{version}) },
            },
            // It may pass: the same again.
            else => .{
                .tag = c.WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY,
                .val = .{ .retry = .{ .reason = because("`feed.jsonl`: {t}", .{err}) } },
            },
        };
        return false;
    };
    events.* = .{ .ptr = read.ptr, .len = read.len };
    return true;
}

export fn exports_wasink_plugin_feed_source_close(_: *c.plugin_string_t) bool {
    return true;
}

fn poll(since: u64, max: u32) ![]Event {
    const io = threaded.io();
    // Opened anew each time: it may not be there yet, or be put in place of another.
    const file = (try data()).openFile(io, "feed.jsonl", .{}) catch |err| switch (err) {
        error.FileNotFound => return &.{},
        else => return err,
    };
    defer file.close(io);
    if (since != version) {
        version = 0;
        offset = 0;
    }
    var buffer: [16 << 10]u8 = undefined;
    var reader = file.reader(io, &buffer);
    try reader.seekTo(offset);
    var line: std.Io.Writer.Allocating = .init(gpa);
    defer line.deinit();
    var events: std.ArrayList(Event) = .empty;
    errdefer {
        for (events.items) |*event| event.free();
        events.deinit(gpa);
    }
    while (events.items.len < max) {
        line.clearRetainingCapacity();
        const length = reader.interface.streamDelimiterEnding(&line.writer, '\n') catch |err|
            return reader.err orelse err;
        _ = reader.interface.takeByte() catch |err| switch (err) {
            // What has no end is still being written.
            error.EndOfStream => break,
            error.ReadFailed => return reader.err orelse err,
        };
        version += 1;
        offset += length + 1;
        if (version <= since) continue;
        const event = try events.addOne(gpa);
        event.* = .{ .control_version = version };
        try readEvent(line.written(), event);
    }
    return events.toOwnedSlice(gpa);
}

fn readEvent(line: []const u8, event: *Event) !void {
    const parsed = std.json.parseFromSlice(std.json.Value, gpa, line, .{}) catch |err| switch (err) {
        error.OutOfMemory => return err,
        else => return error.NoEvent,
    };
    defer parsed.deinit();
    if (parsed.value != .object) return error.NoEvent;
    const object = parsed.value.object;
    event.event_id = copy(try text(object, "event_id") orelse return error.NoEvent);
    event.event_type = copy(try text(object, "event_type") orelse return error.NoEvent);
    event.tenant_id = option(try text(object, "tenant_id"));
    event.stack_id = option(try text(object, "stack_id"));
    event.version = try number(object, "version");
    event.base_version = try number(object, "base_version");
    event.artifact_ref = option(try text(object, "artifact_ref"));
    event.checksum = option(try text(object, "checksum"));
    event.created_at = option(try text(object, "created_at"));
}

fn text(object: std.json.ObjectMap, key: []const u8) !?[]const u8 {
    const value = object.get(key) orelse return null;
    return if (value == .string) value.string else error.NoEvent;
}

fn number(object: std.json.ObjectMap, key: []const u8) !c.plugin_option_s64_t {
    const value = object.get(key) orelse return .{};
    return if (value == .integer) .{ .is_some = true, .val = value.integer } else error.NoEvent;
}

fn option(bytes: ?[]const u8) c.plugin_option_string_t {
    return if (bytes) |some| .{ .is_some = true, .val = copy(some) } else .{};
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
