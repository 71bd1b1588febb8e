// Tells workers when their units are due, from a thread that waits for that: the timers of the event loop count in
// milliseconds.  Unit number i*n+index is that of worker `index` of n.
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'

const OVER = 0 // in the shared memory: the thread shall end
const TOLD = 1 // a message is on its way, another would be one too many

const dueMs = (unit, rate) => unit / rate * 1000
const sinceMs = startNs => Number(process.hrtime.bigint() - startNs) / 1e6

function tick ({ startNs, rate, shared }) {
  for (let unit = 0; Atomics.load(shared, OVER) === 0; unit++) {
    for (let wait; (wait = dueMs(unit, rate) - sinceMs(startNs)) > 0;) {
      if (Atomics.wait(shared, OVER, 0, wait) !== 'timed-out') {
        return
      }
    }
    if (Atomics.exchange(shared, TOLD, 1) === 0) {
      parentPort.postMessage(null)
    }
  }
}

export class Pacer {
  #shared = new Int32Array(new SharedArrayBuffer(8))
  #startNs = process.hrtime.bigint()
  #startMs = performance.now()
  #waiting
  #unit = 0 // the next one that nobody has been told of
  #thread
  #stopped = false

  constructor (rate, workers) {
    this.rate = rate
    this.#waiting = new Array(workers)
    this.#thread = new Worker(new URL(import.meta.url), {
      workerData: { startNs: this.#startNs, rate, shared: this.#shared }
    })
    this.#thread.on('message', () => {
      Atomics.store(this.#shared, TOLD, 0)
      this.#tell()
    })
  }

  #tell () {
    for (const now = sinceMs(this.#startNs); dueMs(this.#unit, this.rate) <= now; this.#unit++) {
      const worker = this.#unit % this.#waiting.length
      this.#waiting[worker]?.()
      this.#waiting[worker] = undefined
    }
  }

  worker (index) {
    let unit = index
    return {
      // Returns when the next unit is due, and the moment at which it was; or at once when all is over.
      wait: async () => {
        const due = dueMs(unit, this.rate)
        while (!this.#stopped && sinceMs(this.#startNs) < due) {
          await new Promise(resolve => { this.#waiting[index] = resolve })
        }
        unit += this.#waiting.length
        return this.#startMs + due
      }
    }
  }

  // Whoever waits goes on, and the thread has ended.
  async stop () {
    this.#stopped = true
    Atomics.store(this.#shared, OVER, 1)
    Atomics.notify(this.#shared, OVER)
    this.#waiting.forEach(resume => resume?.())
    await this.#thread.terminate()
  }
}

if (!isMainThread) {
  tick(workerData)
}
