package main

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pacer tells workers when their units are due: unit number i*n+index is that of worker `index` of n.  It waits on a
// timerfd, because the runtime's own timers of an idle program may be a millisecond late.
type pacer struct {
	start time.Time
	rate  float64
	ready []chan struct{} // a token: look at the clock
	over  chan struct{}
	timer *os.File
	ended sync.WaitGroup
}

func newPacer(rate float64, workers int) (*pacer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &pacer{
		start: time.Now(), rate: rate, ready: make([]chan struct{}, workers), over: make(chan struct{}),
		timer: os.NewFile(uintptr(fd), "timerfd"),
	}
	for i := range p.ready {
		p.ready[i] = make(chan struct{}, 1)
	}
	p.ended.Go(func() { p.run(fd) })
	return p, nil
}

func (p *pacer) due(unit int) time.Time {
	return p.start.Add(time.Duration(float64(unit) / p.rate * 1e9))
}

func (p *pacer) run(fd int) {
	var expirations [8]byte
	for unit := 0; ; unit++ {
		for wait := time.Until(p.due(unit)); wait > 0; wait = time.Until(p.due(unit)) {
			once := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}
			if unix.TimerfdSettime(fd, 0, &once, nil) != nil {
				return
			}
			if _, err := p.timer.Read(expirations[:]); err != nil {
				return
			}
		}
		select {
		case <-p.over:
			return
		case p.ready[unit%len(p.ready)] <- struct{}{}:
		default:
		}
	}
}

// wait returns when the unit is due, and the moment at which it was; false when all is over.
func (p *pacer) wait(worker, i int) (time.Time, bool) {
	due := p.due(i*len(p.ready) + worker)
	for time.Until(due) > 0 {
		select {
		case <-p.ready[worker]:
		case <-p.over:
			return due, false
		}
	}
	return due, true
}

func (p *pacer) stop() {
	close(p.over)
	p.timer.SetReadDeadline(time.Now())
	p.ended.Wait()
	p.timer.Close()
}
