package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What stands here: the command `load` from its arguments to its answer.  The works: load_works.go.

const (
	setupTimeout = 300 * time.Second
	setupDials   = 64      // at a time
	spareFiles   = 64      // descriptors beside those of the connections
	samplesMin   = 1 << 10 // room of a lane
	samplesMax   = 1 << 20 // room of all lanes
	secondsMax   = 1e6
)

type loadOptions struct {
	connections, streams, parallel, inflight, size int
	direction                                      string
	rate                                           float64
	load, distinct                                 bool
	warm, seconds                                  time.Duration
}

// loadWorks says what can be done, which keys each of it takes, and whether its units have a latency.
var loadWorks = map[string]struct {
	keys  string
	timed bool
	run   func(*load) error
}{
	"bulk":      {"warm seconds connections streams direction", false, (*load).bulk},
	"handshake": {"warm seconds parallel distinct", true, (*load).handshakes},
	"rtt":       {"warm seconds rate load", true, (*load).roundTrips},
	"rr":        {"warm seconds connections size rate", true, (*load).requests},
	"streams":   {"warm seconds inflight size", true, (*load).shortStreams},
	"idle":      {"warm seconds connections", false, (*load).idle},
	"storm":     {"connections", true, (*load).storm},
	"fanout":    {"warm seconds connections size", true, (*load).fanout},
}

func (o *loadOptions) set(key, value string) error {
	n, err := strconv.ParseFloat(value, 64)
	whole := err == nil && n >= 1 && n <= math.MaxInt32 && n == math.Trunc(n)
	counts := map[string]*int{
		"connections": &o.connections, "streams": &o.streams, "parallel": &o.parallel, "inflight": &o.inflight,
		"size": &o.size,
	}
	switch {
	case counts[key] != nil && whole:
		*counts[key] = int(n)
	case key == "direction" && slices.Contains([]string{"up", "down", "both"}, value):
		o.direction = value
	case key == "load" && (value == "0" || value == "1"):
		o.load = value == "1"
	case key == "distinct" && (value == "0" || value == "1"):
		o.distinct = value == "1"
	case key == "rate" && err == nil && n >= 0 && n <= 1e9:
		o.rate = n
	case key == "warm" && err == nil && n >= 0 && n <= secondsMax:
		o.warm = time.Duration(n * 1e9)
	case key == "seconds" && err == nil && n > 0 && n <= secondsMax:
		o.seconds = time.Duration(n * 1e9)
	default:
		return fmt.Errorf("%s takes no %q", key, value)
	}
	return nil
}

// load is one such command while it runs.
type load struct {
	loadOptions
	program *program
	tag     string
	target  peer.AddrInfo
	ctx     context.Context // until all is over
	nodes   []*loadNode
	lanes   []*lane
	workers sync.WaitGroup
	result  answer

	measuring atomic.Bool // between `begin` and `end`
	over      atomic.Bool
	failure   chan error // what made the load impossible before `begin`
}

// lane is what one worker counts.  Nobody else looks at it before the worker has ended.
type lane struct {
	units, failed int64
	times         []time.Duration
	_             [88]byte // the next worker's has cache lines of its own
}

// newLanes makes room before the work begins, for what workers count.
func (l *load) newLanes(count int) []*lane {
	made := make([]*lane, count)
	for i := range made {
		made[i] = &lane{times: make([]time.Duration, 0, max(samplesMin, samplesMax/count))}
	}
	l.lanes = append(l.lanes, made...)
	return made
}

func about() answer {
	return answer{
		"implementation": "go-libp2p", "version": strings.TrimPrefix(agent(), "go-libp2p/"),
		"workers": runtime.GOMAXPROCS(0), "waiting": "sleep",
	}
}

func (p *program) load(tag, name, address string, arguments []string) (answer, error) {
	work, known := loadWorks[name]
	if !known {
		return nil, fmt.Errorf("no work %q", name)
	}
	l := &load{program: p, tag: tag, failure: make(chan error, 1), result: answer{}, loadOptions: loadOptions{
		connections: 1, streams: 1, parallel: 1, inflight: 1, direction: "up", size: streamBytes,
		warm: time.Second, seconds: 5 * time.Second,
	}}
	if name == "rr" {
		l.size = pingBytes
	}
	for _, argument := range arguments {
		key, value, _ := strings.Cut(argument, "=")
		if !slices.Contains(strings.Fields(work.keys), key) {
			return nil, fmt.Errorf("%s takes no key %q", name, key)
		}
		if err := l.set(key, value); err != nil {
			return nil, err
		}
	}
	if name == "fanout" {
		if address != "-" {
			return nil, errors.New("fanout takes - for an address")
		}
	} else if target, err := peer.AddrInfoFromString(address); err != nil {
		return nil, err
	} else {
		l.target = *target
	}
	if err := l.run(work.run); err != nil {
		return nil, err
	}
	l.count(work.timed)
	return l.result, nil
}

// run does the work and ends it; after that no worker runs.
func (l *load) run(work func(*load) error) error {
	var limit syscall.Rlimit // Go has raised it to the hard limit
	needed := uint64(max(l.connections, l.parallel) + spareFiles)
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	} else if needed > limit.Cur {
		return fmt.Errorf("cannot: %d descriptors are needed, the limit is %d", needed, limit.Cur)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout+l.warm+l.seconds+commandTimeout)
	l.ctx = ctx
	err := work(l)
	l.over.Store(true)
	cancel()
	l.closeNodes()
	l.workers.Wait()
	return err
}

func (l *load) print(event string) {
	l.program.print(answer{"id": l.tag, "event": event})
}

// measure warms up, then lets the workers count between `begin` and `end`.
func (l *load) measure() error {
	select {
	case err := <-l.failure:
		return err
	case <-time.After(l.warm):
	}
	l.print("begin")
	begin := time.Now()
	l.measuring.Store(true)
	time.Sleep(l.seconds)
	l.measuring.Store(false)
	l.result["seconds"] = time.Since(begin).Seconds()
	l.print("end")
	return nil
}

// lost takes down that something which the work needs is gone for good.
func (l *load) lost(err error) {
	select {
	case l.failure <- err:
	default:
	}
}

// repeat does units one after the other until the load is over: the next one as soon as the last is done, or with
// `rate` when it is due.  What `prepare` does before each, if anything, takes none of its time.  `alive` says whether
// there is still something to do them on.
func (l *load) repeat(counted *lane, pace *pacer, index int, prepare, unit func() error, alive func() bool) {
	start := time.Now()
	for i := 0; ; i++ {
		if pace != nil {
			var due bool
			if start, due = pace.wait(index, i); !due {
				return
			}
		}
		var err error
		if prepare != nil {
			err = prepare()
			start = time.Now()
		}
		if err == nil {
			err = unit()
		}
		now := time.Now()
		if l.over.Load() {
			return
		}
		measuring := l.measuring.Load()
		switch {
		case err == nil && measuring:
			counted.units++
			counted.times = append(counted.times, now.Sub(start))
		case err != nil && measuring:
			counted.failed++
		}
		if err != nil && !alive() {
			l.lost(err)
			if pace == nil {
				return
			}
		}
		start = now
	}
}

// count adds up what the lanes have counted.
func (l *load) count(timed bool) {
	var units, failed int64
	var times []time.Duration
	for _, lane := range l.lanes {
		units += lane.units
		failed += lane.failed
		times = append(times, lane.times...)
	}
	l.result["units"], l.result["failed"] = units, failed
	if !timed {
		return
	}
	slices.Sort(times)
	for name, permille := range map[string]int{
		"p50Us": 500, "p90Us": 900, "p99Us": 990, "p999Us": 999, "maxUs": 1000,
	} {
		l.result[name] = nil
		if len(times) > 0 { // the least value that so many of them do not exceed
			l.result[name] = float64(times[(permille*len(times)+999)/1000-1]) / 1e3
		}
	}
}
