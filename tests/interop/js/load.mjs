// The commands `about` and `load`, from their arguments to their answer.  The works: load_works.mjs.
import { setMaxListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { stop, works } from './load_works.mjs'

const SECONDS_MAX = 1e6
const WARM_SECONDS = 1.5 // until V8 has compiled most of what is run often
const SPARE_FILES = 64 // descriptors beside those of the connections
const MUXER_STREAMS_MAX = 990 // the library's muxer opens 1000 a connection, and ping and identify need some
const PERCENTILES = { p50Us: 500, p90Us: 900, p99Us: 990, p999Us: 999, maxUs: 1000 }

// What each work takes, and whether its units have a latency.
const KEYS = {
  bulk: { keys: 'warm seconds connections streams direction' },
  handshake: { keys: 'warm seconds parallel distinct', timed: true },
  rtt: { keys: 'warm seconds rate load', timed: true },
  rr: { keys: 'warm seconds connections size rate', timed: true },
  streams: { keys: 'warm seconds inflight size', timed: true },
  idle: { keys: 'warm seconds connections' },
  storm: { keys: 'connections', timed: true },
  fanout: { keys: 'warm seconds connections size', timed: true }
}

const count = text => /^\d+$/.test(text) && text >= 1 && text < 2 ** 31 ? Number(text) : undefined
const number = (text, least, most) => text !== '' && text >= least && text <= most ? Number(text) : undefined
const flag = text => ['0', '1'].includes(text) ? Number(text) : undefined
const VALUES = {
  connections: count,
  streams: count,
  parallel: count,
  inflight: count,
  size: count,
  direction: text => ['up', 'down', 'both'].includes(text) ? text : undefined,
  load: flag,
  distinct: flag,
  rate: text => number(text, 0, 1e9),
  warm: text => number(text, 0, SECONDS_MAX),
  seconds: text => number(text, Number.MIN_VALUE, SECONDS_MAX)
}

function parse (work, pairs) {
  if (!Object.hasOwn(KEYS, work)) {
    throw new Error(`no work ${work}`)
  }
  const settings = {
    connections: 1,
    streams: 1,
    parallel: 1,
    inflight: 1,
    size: work === 'rr' ? 32 : 1024,
    direction: 'up',
    rate: 0,
    load: 0,
    distinct: 0,
    warm: 1,
    seconds: 5
  }
  for (const pair of pairs) {
    const [key, value = ''] = pair.split('=', 2)
    if (!KEYS[work].keys.split(' ').includes(key)) {
      throw new Error(`${work} takes no key ${key}`)
    }
    settings[key] = VALUES[key](value)
    if (settings[key] === undefined) {
      throw new Error(`${key} takes no ${value}`)
    }
  }
  return settings
}

function cannot (why) {
  return Object.assign(new Error(why), { name: 'cannot' })
}

function checkLimits ({ connections, parallel, inflight, streams, direction }) {
  const [, soft] = /Max open files +(\d+|unlimited)/.exec(readFileSync('/proc/self/limits', 'utf8'))
  const needed = Math.max(connections, parallel) + SPARE_FILES
  if (needed > Number(soft)) { // which node has raised to the hard limit
    throw cannot(`${needed} descriptors are needed, the limit is ${soft}`)
  }
  if (Math.max(inflight, streams * (direction === 'both' ? 2 : 1)) > MUXER_STREAMS_MAX) {
    throw cannot("js-libp2p's yamux opens 1000 streams a connection, some of them for ping and identify")
  }
}

// One such command while it runs.  All of it is in one thread, so one count serves all workers.
class Load {
  #failure = Promise.withResolvers()
  #ending = new AbortController()
  #times = new Float64Array(1 << 16) // milliseconds
  units = 0
  failed = 0
  samples = 0
  measuring = false // between `begin` and `end`
  nodes = []
  result = {}

  constructor (program, settings) {
    this.program = program
    this.settings = settings
    this.#failure.promise.catch(() => {})
    setMaxListeners(Infinity, this.signal)
  }

  get over () {
    return this.#ending.signal.aborted
  }

  // Aborted when all is over.
  get signal () {
    return this.#ending.signal
  }

  print (event) {
    this.program.print(event)
  }

  // Takes down that something which the work needs is gone for good: before `begin` that ends the load.
  lost (error) {
    this.#failure.reject(error)
  }

  took (ms) {
    if (this.samples === this.#times.length) {
      const more = new Float64Array(2 * this.samples)
      more.set(this.#times)
      this.#times = more
    }
    this.#times[this.samples++] = ms
  }

  done (ms) {
    if (this.measuring) {
      this.units++
      this.took(ms)
    }
  }

  missed () {
    if (this.measuring) {
      this.failed++
    }
  }

  // Warms up, then lets the workers count between `begin` and `end`.
  async measure () {
    const warm = new Promise(resolve => setTimeout(resolve, this.settings.warm * 1000))
    await Promise.race([warm, this.#failure.promise])
    this.print('begin')
    const begin = performance.now()
    this.measuring = true
    await new Promise(resolve => setTimeout(resolve, this.settings.seconds * 1000))
    this.measuring = false
    this.result.seconds = (performance.now() - begin) / 1000
    this.print('end')
  }

  end () {
    this.#ending.abort(new Error('over'))
  }

  answer (timed) {
    const answer = { ...this.result, units: this.units, failed: this.failed }
    if (timed) {
      const times = this.#times.subarray(0, this.samples).sort()
      for (const [name, permille] of Object.entries(PERCENTILES)) {
        // The least value that so many of them do not exceed.
        answer[name] = times.length > 0 ? times[Math.ceil(permille * times.length / 1000) - 1] * 1000 : null
      }
    }
    return answer
  }
}

export function about () {
  const { version } = JSON.parse(readFileSync(new URL('node_modules/libp2p/package.json', import.meta.url), 'utf8'))
  return { implementation: 'js-libp2p', version, workers: 1, waiting: 'sleep', warm: WARM_SECONDS }
}

export async function load (program, work, address, ...pairs) {
  const settings = parse(work, pairs)
  checkLimits(settings)
  const load = new Load(program, settings)
  try {
    await works[work](load, address)
  } finally {
    load.end()
    await Promise.all(load.nodes.map(stop))
  }
  return load.answer(KEYS[work].timed)
}
