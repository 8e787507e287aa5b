// Package plugin appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had
// since the flush before.
package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	about "wasink.local/plugin/bindings/wasink_plugin_about"
	batches "wasink.local/plugin/bindings/wasink_plugin_batches"
	lifecycle "wasink.local/plugin/bindings/wasink_plugin_lifecycle"
	log "wasink.local/plugin/bindings/wasink_plugin_log"
	records "wasink.local/plugin/bindings/wasink_plugin_records"
	sink "wasink.local/plugin/bindings/wasink_plugin_sink"
	. "wasink.local/plugin/bindings/wit/types"
)

var (
	usage   = lines{name: "usage.jsonl"}
	tenants = lines{name: "tenants.jsonl"}
	counts  map[string]uint64
)

func Describe() about.Description {
	return about.Description{
		Version:          "1.0.0",
		Summary:          "usage as JSON Lines, and how many records each tenant had",
		Streams:          []records.Stream{records.StreamUsage},
		SettingsSchema:   Some(`{"type":"object","additionalProperties":false}`),
		Acknowledges:     about.AcknowledgesOnFlush,
		DedupWindow:      None[uint64](),
		AcceptanceWindow: None[uint64](),
		Asks: []about.Ask{
			{Need: about.MakeNeedDirectory(), Required: true, Reason: "keeps its files there"},
		},
	}
}

func Open(lifecycle.Context) Result[Unit, string] {
	counts = map[string]uint64{}
	for _, file := range []*lines{&usage, &tenants} {
		if err := file.open(); err != nil {
			return Err[Unit, string](err.Error())
		}
	}
	log.Write(log.LevelInfo, "open", []Tuple2[string, log.Value]{
		{F0: "file", F1: log.MakeValueText("usage.jsonl")},
	})
	return Ok[Unit, string](Unit{})
}

func Write(batch *batches.Batch) Result[[]sink.Exception, lifecycle.Failure] {
	// It is lent for this call.
	defer batch.Drop()
	columns := batch.UsageColumns()
	if columns.IsErr() {
		return Err[[]sink.Exception](lifecycle.MakeFailureRejected("the batch is of another stream"))
	}
	if err := usage.append(batch.Encode(batches.EncodingJsonl), false); err != nil {
		return Err[[]sink.Exception](failed(err))
	}
	tenant := columns.Ok().Tenant
	for _, code := range tenant.Codes {
		counts[tenant.Values[code]]++
	}
	return Ok[[]sink.Exception, lifecycle.Failure](nil)
}

func Flush() Result[Unit, lifecycle.Failure] {
	if len(counts) == 0 {
		return Ok[Unit, lifecycle.Failure](Unit{})
	}
	if err := usage.file.Sync(); err != nil {
		return Err[Unit](failed(err))
	}
	var text bytes.Buffer
	for _, tenant := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&text, "{\"tenant\":%s,\"records\":%d}\n", quoted(tenant), counts[tenant])
	}
	if err := tenants.append(text.Bytes(), true); err != nil {
		return Err[Unit](failed(err))
	}
	// Only now: a flush that fails is asked for again.
	clear(counts)
	return Ok[Unit, lifecycle.Failure](Unit{})
}

func Close() Result[Unit, string] {
	usage.file.Close()
	tenants.file.Close()
	return Ok[Unit, string](Unit{})
}

var errNotCut = errors.New("what was appended can't be cut off")

func failed(err error) lifecycle.Failure {
	if errors.Is(err, errNotCut) {
		// Nothing is to be appended to half a line: the next instance cuts it off as it opens.
		return lifecycle.MakeFailureBroken(err.Error())
	}
	// It may pass: the same again.
	return lifecycle.MakeFailureRetry(lifecycle.Again{After: None[uint64](), Reason: err.Error()})
}

func quoted(text string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	// A string can always be encoded.
	_ = encoder.Encode(text)
	return bytes.TrimSpace(out.Bytes())
}

// A file of lines that is appended to.
type lines struct {
	name string
	file *os.File
}

func (l *lines) open() (err error) {
	if l.file, err = os.OpenFile("/data/"+l.name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	// Half a line at the end is of a write that was cut off: it was never acknowledged, and its record
	// comes again.
	length, err := l.file.Seek(0, 2)
	if err != nil {
		return err
	}
	whole := length
	for last := make([]byte, 1); whole > 0; whole-- {
		if _, err := l.file.ReadAt(last, whole-1); err != nil {
			return err
		}
		if last[0] == '\n' {
			break
		}
	}
	if whole == length {
		return nil
	}
	return l.cut(whole)
}

// Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
func (l *lines) append(text []byte, durable bool) error {
	// The seek has the next write work after one that failed: an error closes the stream into a file.
	length, err := l.file.Seek(0, 2)
	if err != nil {
		return err
	}
	_, err = l.file.Write(text)
	if err == nil && durable {
		err = l.file.Sync()
	}
	if err != nil && l.cut(length) != nil {
		return fmt.Errorf("%w: %w", errNotCut, err)
	}
	return err
}

func (l *lines) cut(length int64) error {
	if err := l.file.Truncate(length); err != nil {
		return err
	}
	_, err := l.file.Seek(length, 0)
	return err
}
