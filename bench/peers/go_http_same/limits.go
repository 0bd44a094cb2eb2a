// Exact sliding windows per key, and the texts of RateLimit-Policy and RateLimit.
package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type window struct {
	limit    int
	periodMs int64
	whole    string // "contact-60";q=6;w=60
	left     string // "contact-60";r=
}

// quota is what is left of one window: room for so many more, and when there is more room.
type quota struct {
	remaining int
	resetMs   int64
}

// limit has the stamps of its keys, the oldest first. A window of L in P takes a charge unless the
// L-th newest stamp is younger than P. Only the longest window's stamps are kept.
type limit[K comparable] struct {
	windows  []window
	longest  int64
	mutex    sync.Mutex
	stampsOf map[K][]int64
}

// newLimit takes windows as pairs of a count and seconds.
func newLimit[K comparable](name string, pairs [][2]int64) *limit[K] {
	made := &limit[K]{stampsOf: map[K][]int64{}}
	for _, pair := range pairs {
		made.windows = append(made.windows, window{
			limit:    int(pair[0]),
			periodMs: pair[1] * 1000,
			whole:    fmt.Sprintf(`"%s-%d";q=%d;w=%d`, name, pair[1], pair[0], pair[1]),
			left:     fmt.Sprintf(`"%s-%d";r=`, name, pair[1]),
		})
		made.longest = max(made.longest, pair[1]*1000)
	}
	return made
}

// spend charges a key where all windows have room, and puts what is left then behind quotas.
func (l *limit[K]) spend(key K, nowMs int64, quotas []quota) ([]quota, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	stamps := l.stampsOf[key]
	if !l.hasRoom(stamps, nowMs) {
		return quotas, false
	}
	stamps = l.stamped(stamps, nowMs)
	l.stampsOf[key] = stamps
	return l.room(stamps, nowMs, quotas), true
}

// foresee puts what is left of a key behind quotas, and says whether all windows have room.
func (l *limit[K]) foresee(key K, nowMs int64, quotas []quota) ([]quota, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	stamps := l.stampsOf[key]
	return l.room(stamps, nowMs, quotas), l.hasRoom(stamps, nowMs)
}

// takes says the same of a limit that is not told.
func (l *limit[K]) takes(key K, nowMs int64) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.hasRoom(l.stampsOf[key], nowMs)
}

// record charges without asking.
func (l *limit[K]) record(key K, atMs int64) {
	l.stampsOf[key] = l.stamped(l.stampsOf[key], atMs)
}

// judged is the time a key is judged at: never before its newest stamp.
func judged(stamps []int64, nowMs int64) int64 {
	if n := len(stamps); n > 0 {
		return max(nowMs, stamps[n-1])
	}
	return nowMs
}

func (l *limit[K]) hasRoom(stamps []int64, nowMs int64) bool {
	at := judged(stamps, nowMs)
	for i := range l.windows {
		w := &l.windows[i]
		if n := len(stamps) - w.limit; n >= 0 && stamps[n]+w.periodMs > at {
			return false
		}
	}
	return true
}

func (l *limit[K]) stamped(stamps []int64, nowMs int64) []int64 {
	at := judged(stamps, nowMs)
	for len(stamps) > 0 && stamps[0]+l.longest <= at {
		stamps = stamps[1:]
	}
	return append(stamps, at)
}

func (l *limit[K]) room(stamps []int64, nowMs int64, quotas []quota) []quota {
	at := judged(stamps, nowMs)
	for i := range l.windows {
		w := &l.windows[i]
		first, _ := slices.BinarySearch(stamps, at-w.periodMs+1)
		counted := min(len(stamps)-first, w.limit)
		told := quota{remaining: w.limit - counted}
		if counted > 0 {
			told.resetMs = stamps[len(stamps)-counted] + w.periodMs - nowMs
		}
		quotas = append(quotas, told)
	}
	return quotas
}

// tighten keeps of each window the tighter of two quotas.
func tighten(quotas, others []quota) {
	for i, other := range others {
		held := quotas[i]
		if other.remaining < held.remaining ||
			other.remaining == held.remaining && other.resetMs > held.resetMs {
			quotas[i] = other
		}
	}
}

// policyText is RateLimit-Policy of these windows.
func policyText(windows []window) string {
	var each []string
	for _, w := range windows {
		each = append(each, w.whole)
	}
	return strings.Join(each, ", ")
}

// leftText is RateLimit of these windows, of each a quota.
func leftText(windows []window, quotas []quota) string {
	var held [256]byte
	text := held[:0]
	for i := range windows {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(text, windows[i].left...)
		text = strconv.AppendInt(text, int64(quotas[i].remaining), 10)
		text = append(text, ";t="...)
		text = strconv.AppendInt(text, (quotas[i].resetMs+999)/1000, 10)
	}
	return string(text)
}

func nowMs() int64 { return time.Now().UnixMilli() }
