// Package guard gives memory back between calls of a plugin.
package guard

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	witRuntime "go.bytecodealliance.org/pkg/wit/runtime"
)

// A collection in the middle of a call may come while the host copies a list into our memory, and
// then traps: collecting waits on the clock, and nothing may be waited for there. So it is done here.
func init() { debug.SetGCPercent(-1) }

// So much may be allocated from one collection to the next.
const between = 4 << 20

var (
	allocated = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	collected uint64
)

// After belongs behind each call.
func After() {
	// What the host has copied into our memory is held until it is let go.
	witRuntime.Unpin()
	metrics.Read(allocated)
	if now := allocated[0].Value.Uint64(); now > collected+between {
		runtime.GC()
		collected = now
	}
}
