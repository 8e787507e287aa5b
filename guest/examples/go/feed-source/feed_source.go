// Package plugin reads a feed from one file: line n of feed.jsonl is the event with control version n.
package plugin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	about "wasink.local/plugin/bindings/wasink_plugin_about"
	lifecycle "wasink.local/plugin/bindings/wasink_plugin_lifecycle"
	records "wasink.local/plugin/bindings/wasink_plugin_records"
	. "wasink.local/plugin/bindings/wit/types"
)

// The version of the last line that was read, and where the next one begins.
var (
	version uint64
	offset  int64
)

// An event as a line; its version is the number of the line.
type line struct {
	EventId     *string `json:"event_id"`
	EventType   *string `json:"event_type"`
	TenantId    *string `json:"tenant_id"`
	StackId     *string `json:"stack_id"`
	Version     *int64  `json:"version"`
	BaseVersion *int64  `json:"base_version"`
	ArtifactRef *string `json:"artifact_ref"`
	Checksum    *string `json:"checksum"`
	CreatedAt   *string `json:"created_at"`
}

type polled = Result[[]records.ControlEvent, lifecycle.Failure]

func Describe() about.Description {
	return about.Description{
		Version:          "1.0.0",
		Summary:          "a feed in one file",
		SettingsSchema:   Some(`{"type":"object","additionalProperties":false}`),
		Acknowledges:     about.AcknowledgesOnWrite,
		DedupWindow:      None[uint64](),
		AcceptanceWindow: None[uint64](),
		Asks: []about.Ask{
			{Need: about.MakeNeedDirectory(), Required: true, Reason: "its file is there"},
		},
	}
}

func Open(lifecycle.Context) Result[Unit, string] {
	version, offset = 0, 0
	return Ok[Unit, string](Unit{})
}

func Poll(since uint64, max uint32, _ uint64) polled {
	// Opened anew each time: it may not be there yet, or be put in place of another.
	file, err := os.Open("/data/feed.jsonl")
	if errors.Is(err, fs.ErrNotExist) {
		return Ok[[]records.ControlEvent, lifecycle.Failure](nil)
	}
	if err != nil {
		return retry(err)
	}
	defer file.Close()
	if since != version {
		version, offset = 0, 0
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return retry(err)
	}
	var events []records.ControlEvent
	for reader := bufio.NewReader(file); len(events) < int(max); {
		text, err := reader.ReadBytes('\n')
		// What has no end is still being written.
		if err == io.EOF {
			break
		}
		if err != nil {
			return retry(err)
		}
		version++
		offset += int64(len(text))
		if version <= since {
			continue
		}
		event, err := read(text)
		if err != nil {
			reason := fmt.Sprintf("line %d of feed.jsonl: %v", version, err)
			return Err[[]records.ControlEvent](lifecycle.MakeFailureBroken(reason))
		}
		event.ControlVersion = version
		events = append(events, event)
	}
	return Ok[[]records.ControlEvent, lifecycle.Failure](events)
}

func Close() Result[Unit, string] {
	return Ok[Unit, string](Unit{})
}

// It may pass: the same again.
func retry(err error) polled {
	again := lifecycle.Again{After: None[uint64](), Reason: err.Error()}
	return Err[[]records.ControlEvent](lifecycle.MakeFailureRetry(again))
}

func read(text []byte) (event records.ControlEvent, err error) {
	var line line
	if err := json.Unmarshal(text, &line); err != nil {
		return event, err
	}
	if line.EventId == nil || line.EventType == nil {
		return event, errors.New("it has no `event_id` or no `event_type`")
	}
	return records.ControlEvent{
		EventId:     *line.EventId,
		EventType:   *line.EventType,
		TenantId:    option(line.TenantId),
		StackId:     option(line.StackId),
		Version:     option(line.Version),
		BaseVersion: option(line.BaseVersion),
		ArtifactRef: option(line.ArtifactRef),
		Checksum:    option(line.Checksum),
		CreatedAt:   option(line.CreatedAt),
	}, nil
}

func option[T any](value *T) Option[T] {
	if value == nil {
		return None[T]()
	}
	return Some(*value)
}
