//! Appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had since the
//! flush before.

const std = @import("std");
const c = @import("bindings/plugin.zig");

const gpa = std.heap.c_allocator;
var threaded: std.Io.Threaded = .init_single_threaded;

var usage: Lines = .{ .name = "usage.jsonl" };
var tenants: Lines = .{ .name = "tenants.jsonl" };
var counts: std.array_hash_map.String(u64) = .empty;

export fn exports_wasink_plugin_about_describe(about: *c.exports_wasink_plugin_about_description_t) void {
    about.* = .{
        .version = copy("1.0.0"),
        .summary = copy("usage as JSON Lines, and how many records each tenant had"),
        .streams = .{
            .ptr = one(c.exports_wasink_plugin_about_stream_t, c.WASINK_PLUGIN_RECORDS_STREAM_USAGE),
            .len = 1,
        },
        .settings_schema = .{ .is_some = true, .val = copy(
            \\{"type":"object","additionalProperties":false}
        ) },
        .acknowledges = c.EXPORTS_WASINK_PLUGIN_ABOUT_ACKNOWLEDGES_ON_FLUSH,
        .asks = .{
            .ptr = one(c.exports_wasink_plugin_about_ask_t, .{
                .need = .{ .tag = c.EXPORTS_WASINK_PLUGIN_ABOUT_NEED_DIRECTORY },
                .required = true,
                .reason = copy("keeps its files there"),
            }),
            .len = 1,
        },
    };
}

export fn exports_wasink_plugin_sink_open(
    context: *c.exports_wasink_plugin_sink_context_t,
    failure: *c.plugin_string_t,
) bool {
    context.free();
    forgetCounts();
    for ([_]*Lines{ &usage, &tenants }) |lines| {
        lines.open() catch |err| {
            failure.* = because(lines.name, err);
            return false;
        };
    }
    var message = borrowed("open");
    var field: c.wasink_plugin_log_tuple2_string_value_t = .{
        .f0 = borrowed("file"),
        .f1 = .{ .tag = c.WASINK_PLUGIN_LOG_VALUE_TEXT, .val = .{ .text = borrowed(usage.name) } },
    };
    var fields: c.wasink_plugin_log_list_tuple2_string_value_t = .{ .ptr = &field, .len = 1 };
    c.wasink_plugin_log_write(c.WASINK_PLUGIN_LOG_LEVEL_INFO, &message, &fields);
    return true;
}

export fn exports_wasink_plugin_sink_write(
    batch: c.exports_wasink_plugin_sink_borrow_batch_t,
    exceptions: *c.exports_wasink_plugin_sink_list_exception_t,
    failure: *c.exports_wasink_plugin_sink_failure_t,
) bool {
    exceptions.* = .{};
    var lines: c.plugin_list_u8_t = undefined;
    c.wasink_plugin_batches_method_batch_encode(batch, c.WASINK_PLUGIN_BATCHES_ENCODING_JSONL, &lines);
    defer lines.free();
    usage.append(lines.ptr[0..lines.len], .later) catch |err| return failed(failure, usage.name, err);

    var columns: c.wasink_plugin_batches_usage_columns_t = undefined;
    var wrong: c.wasink_plugin_batches_wrong_stream_t = undefined;
    if (!c.wasink_plugin_batches_method_batch_usage_columns(batch, &columns, &wrong)) return true;
    defer columns.free();
    // Without memory the instance ends: what it has not flushed comes again.
    count(columns.tenant) catch @panic("out of memory");
    return true;
}

export fn exports_wasink_plugin_sink_flush(failure: *c.exports_wasink_plugin_sink_failure_t) bool {
    if (counts.count() == 0) return true;
    usage.sync() catch |err| return failed(failure, usage.name, err);
    appendCounts() catch |err| return failed(failure, tenants.name, err);
    // Only now: a flush that fails is asked for again.
    forgetCounts();
    return true;
}

export fn exports_wasink_plugin_sink_close(_: *c.plugin_string_t) bool {
    usage.close();
    tenants.close();
    return true;
}

fn count(tenant: c.wasink_plugin_batches_dictionary_column_t) !void {
    // A tenant is a small number here. Its name is looked up once a batch, not once a record.
    const records = try gpa.alloc(u64, tenant.values.len);
    defer gpa.free(records);
    @memset(records, 0);
    for (tenant.codes.ptr[0..tenant.codes.len]) |code| records[code] += 1;
    for (tenant.values.ptr, records) |name, more| {
        if (more == 0) continue;
        if (counts.getPtr(text(name))) |sum| {
            sum.* += more;
        } else {
            try counts.put(gpa, try gpa.dupe(u8, text(name)), more);
        }
    }
}

fn appendCounts() !void {
    const ByName = struct {
        names: []const []const u8,
        pub fn lessThan(by: @This(), a: usize, b: usize) bool {
            return std.mem.lessThan(u8, by.names[a], by.names[b]);
        }
    };
    counts.sort(ByName{ .names = counts.keys() });
    var lines: std.Io.Writer.Allocating = .init(gpa);
    defer lines.deinit();
    for (counts.keys(), counts.values()) |tenant, records| {
        try std.json.Stringify.value(.{ .tenant = tenant, .records = records }, .{}, &lines.writer);
        try lines.writer.writeByte('\n');
    }
    try tenants.append(lines.written(), .now);
}

fn forgetCounts() void {
    for (counts.keys()) |tenant| gpa.free(tenant);
    counts.clearRetainingCapacity();
}

/// A file of lines that is appended to.
const Lines = struct {
    name: []const u8,
    file: std.Io.File = undefined,

    fn open(lines: *Lines) !void {
        const io = threaded.io();
        lines.file = try (try data()).createFile(io, lines.name, .{ .read = true, .truncate = false });
        const errno = std.os.wasi.fd_fdstat_set_flags(lines.file.handle, .{ .APPEND = true });
        if (errno != .SUCCESS) return error.CannotAppend;
        // Half a line at the end is of a write that was cut off: it was never acknowledged, and its
        // record comes again.
        const length = try lines.file.length(io);
        var whole = length;
        while (whole > 0) : (whole -= 1) {
            var last: [1]u8 = undefined;
            if (try lines.file.readPositionalAll(io, &last, whole - 1) == 1 and last[0] == '\n') break;
        }
        if (whole < length) try lines.file.setLength(io, whole);
    }

    /// Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
    fn append(lines: *Lines, bytes: []const u8, durable: enum { now, later }) !void {
        // The seek has the next write work after one that failed: an error closes the stream into a file.
        var length: u64 = undefined;
        if (std.os.wasi.fd_seek(lines.file.handle, 0, .END, &length) != .SUCCESS) return error.NotSeekable;
        lines.write(bytes, durable == .now) catch |err| {
            // Nothing is to be appended to half a line: the next instance cuts it off as it opens.
            lines.file.setLength(threaded.io(), length) catch return error.NotCutBack;
            return err;
        };
    }

    fn write(lines: *Lines, bytes: []const u8, durable: bool) !void {
        try lines.file.writeStreamingAll(threaded.io(), bytes);
        if (durable) try lines.sync();
    }

    fn sync(lines: *Lines) !void {
        try lines.file.sync(threaded.io());
    }

    fn close(lines: *Lines) void {
        lines.file.close(threaded.io());
    }
};

/// The directory that the operator has granted.
fn data() !std.Io.Dir {
    var arena: std.heap.ArenaAllocator = .init(gpa);
    defer arena.deinit();
    const granted: std.process.Preopens = try .init(arena.allocator());
    return (granted.get("/data") orelse return error.NotGranted).dir;
}

fn failed(failure: *c.exports_wasink_plugin_sink_failure_t, name: []const u8, err: anyerror) bool {
    failure.* = switch (err) {
        error.NotCutBack => .{
            .tag = c.WASINK_PLUGIN_LIFECYCLE_FAILURE_BROKEN,
            .val = .{ .broken = because(name, err) },
        },
        // It may pass: the same again.
        else => .{
            .tag = c.WASINK_PLUGIN_LIFECYCLE_FAILURE_RETRY,
            .val = .{ .retry = .{ .reason = because(name, err) } },
        },
    };
    return false;
}

fn because(name: []const u8, err: anyerror) c.plugin_string_t {
    var buffer: [256]u8 = undefined;
    return copy(std.fmt.bufPrint(&buffer, "{s}: {s}", .{ name, @errorName(err) }) catch name);
}

/// What is handed to the host is freed by it, so it must be a copy.
fn copy(bytes: []const u8) c.plugin_string_t {
    var copied: c.plugin_string_t = undefined;
    c.plugin_string_dup_n(&copied, bytes.ptr, bytes.len);
    return copied;
}

/// The same, for a list of one.
fn one(T: type, value: T) *T {
    const copied = gpa.create(T) catch @panic("out of memory");
    copied.* = value;
    return copied;
}

/// What is only lent to the host is not freed.
fn borrowed(bytes: []const u8) c.plugin_string_t {
    return .{ .ptr = @constCast(bytes.ptr), .len = bytes.len };
}

fn text(string: c.plugin_string_t) []const u8 {
    return string.ptr[0..string.len];
}
