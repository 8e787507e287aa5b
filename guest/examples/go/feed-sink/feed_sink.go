// Package plugin keeps a feed in one file: line n of feed.jsonl is the event with control version n.
package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	about "wasink.local/plugin/bindings/wasink_plugin_about"
	lifecycle "wasink.local/plugin/bindings/wasink_plugin_lifecycle"
	records "wasink.local/plugin/bindings/wasink_plugin_records"
	. "wasink.local/plugin/bindings/wit/types"
)

var (
	file *os.File
	// The version of each event, by its id.
	versions map[string]uint64
)

var errNotCut = errors.New("feed.jsonl can't be cut back")

// An event as a line; its version is the number of the line.
type line struct {
	EventId     string  `json:"event_id"`
	EventType   string  `json:"event_type"`
	TenantId    *string `json:"tenant_id,omitempty"`
	StackId     *string `json:"stack_id,omitempty"`
	Version     *int64  `json:"version,omitempty"`
	BaseVersion *int64  `json:"base_version,omitempty"`
	ArtifactRef *string `json:"artifact_ref,omitempty"`
	Checksum    *string `json:"checksum,omitempty"`
	CreatedAt   *string `json:"created_at,omitempty"`
}

func Describe() about.Description {
	return about.Description{
		Version:          "1.0.0",
		Summary:          "a feed in one file",
		SettingsSchema:   Some(`{"type":"object","additionalProperties":false}`),
		Acknowledges:     about.AcknowledgesOnWrite,
		DedupWindow:      None[uint64](),
		AcceptanceWindow: None[uint64](),
		Asks: []about.Ask{
			{Need: about.MakeNeedDirectory(), Required: true, Reason: "keeps its file there"},
		},
	}
}

func Open(lifecycle.Context) Result[Unit, string] {
	if err := open(); err != nil {
		return Err[Unit, string](err.Error())
	}
	return Ok[Unit, string](Unit{})
}

func open() (err error) {
	versions = map[string]uint64{}
	if file, err = os.OpenFile("/data/feed.jsonl", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	// What is behind the last whole line was cut off while it was written, and not acknowledged.
	whole := bytes.LastIndexByte(text, '\n') + 1
	for n, one := range slices.Collect(bytes.Lines(text[:whole])) {
		var event line
		if err := json.Unmarshal(one, &event); err != nil || event.EventId == "" {
			return fmt.Errorf("line %d of feed.jsonl is no event: %v", n+1, err)
		}
		if first, found := versions[event.EventId]; found {
			return fmt.Errorf("line %d of feed.jsonl has the `event_id` of line %d", n+1, first)
		}
		versions[event.EventId] = uint64(n + 1)
	}
	return cut(int64(whole))
}

func Append(events []records.ControlEvent) Result[[]Result[uint64, lifecycle.Failure], lifecycle.Failure] {
	known := uint64(len(versions))
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	given := make([]uint64, len(events))
	for i, event := range events {
		version, found := versions[event.EventId]
		if !found {
			version = uint64(len(versions) + 1)
			versions[event.EventId] = version
			// Texts and numbers can always be encoded.
			_ = encoder.Encode(line{
				event.EventId, event.EventType, pointer(event.TenantId), pointer(event.StackId),
				pointer(event.Version), pointer(event.BaseVersion), pointer(event.ArtifactRef),
				pointer(event.Checksum), pointer(event.CreatedAt),
			})
		}
		given[i] = version
	}
	err := appendLines(lines.Bytes())
	if errors.Is(err, errNotCut) {
		// Lines are there that have no versions. The next instance reads them.
		broken := lifecycle.MakeFailureBroken(err.Error())
		return Err[[]Result[uint64, lifecycle.Failure]](broken)
	}
	results := make([]Result[uint64, lifecycle.Failure], len(events))
	first := len(events)
	for i, version := range given {
		results[i] = Ok[uint64, lifecycle.Failure](version)
		if err != nil && version > known {
			first = min(first, i)
			delete(versions, events[i].EventId)
		}
	}
	// None is appended after the first that fails, and the results of all behind it say so.
	for i := first; i < len(events); i++ {
		again := lifecycle.Again{After: None[uint64](), Reason: err.Error()}
		results[i] = Err[uint64](lifecycle.MakeFailureRetry(again))
	}
	return Ok[[]Result[uint64, lifecycle.Failure], lifecycle.Failure](results)
}

func Close() Result[Unit, string] {
	file.Close()
	return Ok[Unit, string](Unit{})
}

// Appends all of it and makes it durable, or nothing.
func appendLines(lines []byte) error {
	// The seek has the next write work after one that failed: an error closes the stream into a file.
	length, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err = file.Write(lines); err == nil {
		err = file.Sync()
	}
	if err != nil && cut(length) != nil {
		return fmt.Errorf("%w: %w", errNotCut, err)
	}
	return err
}

func cut(length int64) error {
	if err := file.Truncate(length); err != nil {
		return err
	}
	_, err := file.Seek(length, io.SeekStart)
	return err
}

func pointer[T any](option Option[T]) *T {
	if option.IsNone() {
		return nil
	}
	value := option.Some()
	return &value
}
