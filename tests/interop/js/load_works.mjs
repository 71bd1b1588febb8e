// The works of `load`.
import { setImmediate as turn } from 'node:timers/promises'
import { multiaddr } from '@multiformats/multiaddr'
import { Pacer } from './load_pace.mjs'
import { ECHO, PERF, STREAMS_MAX, readMessages, sendZeros, serveEcho } from './streams.mjs'

const PING = '/ipfs/ping/1.0.0'
const PING_BYTES = 32
const SETUP_DIALS = 64 // at a time
const SETUP_MS_MAX = 300_000
const HANDSHAKE_MS_MAX = 60_000
const ENDLESS_BYTES = 2 ** 50

const later = ms => new Promise(resolve => setTimeout(resolve, ms))

function within (ms, promise) {
  const late = Promise.withResolvers()
  const timer = setTimeout(() => late.reject(new Error('timed out')), ms)
  return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer))
}

// Calls work for each item, at most so many at a time, and returns the results in order.
async function atATime (limit, items, work) {
  const results = []
  let next = 0
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, async () => {
    while (next < items.length) {
      const index = next++
      results[index] = await work(items[index])
    }
  }))
  return results
}

async function makeNode (load) {
  const node = await load.program.newNode()
  await serveEcho(node)
  return node
}

async function makeNodes (load, count) {
  for (let i = 0; i < count; i++) {
    load.nodes.push(await makeNode(load))
  }
}

// Resets the streams that are still busy, and closes the node.
export async function stop (node) {
  for (const connection of node.getConnections()) {
    for (const stream of [...connection.streams]) {
      stream.abort(new Error('over'))
    }
  }
  await node.stop()
}

function identified (node) {
  return new Promise(resolve => node.addEventListener('peer:identify', resolve, { once: true }))
}

// Connects all nodes, and waits until the other side is identified.
async function connect (load, address) {
  const target = multiaddr(address)
  return within(SETUP_MS_MAX, atATime(SETUP_DIALS, load.nodes, async node => {
    const known = identified(node)
    const connection = await node.dial(target)
    const lost = new Promise((resolve, reject) => {
      connection.addEventListener('close', () => reject(new Error('connection lost before identify')))
    })
    await Promise.race([known, lost])
    lost.catch(() => {})
    return connection
  }))
}

const alive = connection => connection.status === 'open'

function open (load, connection, protocol) {
  return connection.newStream(protocol, { maxOutboundStreams: STREAMS_MAX, signal: load.signal })
}

// Does units one after the other until the load is over: the next one as soon as the last is done, or when it is due.
// What is prepared before each, if anything, takes none of its time.
async function repeat (load, unit, isAlive, pace, prepare) {
  let start = performance.now()
  while (!load.over) {
    if (pace != null) {
      start = await pace.wait()
      if (load.over) {
        return
      }
    }
    try {
      if (prepare != null) {
        await prepare()
        start = performance.now()
      }
      await unit()
      const now = performance.now()
      load.done(now - start)
      start = now
    } catch (error) {
      if (load.over) {
        return
      }
      load.missed()
      await turn() // what fails at once would leave no time for anything else
      start = performance.now()
      if (!isAlive()) {
        load.lost(error)
        if (pace == null) {
          return
        }
      }
    }
  }
}

// Sends bytes and reads as many back, over and over on one stream.
class Exchanger {
  #left = 0
  #done
  #stream

  constructor (load, connection, protocol, size) {
    this.load = load
    this.connection = connection
    this.protocol = protocol
    this.out = new Uint8Array(size)
  }

  async #open () {
    const stream = this.#stream = await open(this.load, this.connection, this.protocol)
    const reading = readMessages(stream, data => {
      this.#left -= data.byteLength
      if (this.#left === 0) {
        this.#done.resolve()
      } else if (this.#left < 0) {
        this.abort(new Error('more came back than was sent'))
      }
    })
    const ended = () => {
      if (this.#stream === stream) {
        this.abort(new Error('stream ended'))
      }
    }
    reading.then(ended, ended)
  }

  async exchange () {
    this.#done = Promise.withResolvers()
    this.#left = this.out.length
    try {
      if (this.#stream == null) {
        await this.#open()
      }
      this.#stream.send(this.out)
    } catch (error) {
      this.abort(error)
    }
    await this.#done.promise
  }

  // The next exchange, if any, will be on a new stream.
  abort (error) {
    const stream = this.#stream
    this.#stream = undefined
    stream?.abort(error)
    this.#done.reject(error)
  }

  async close () {
    const stream = this.#stream
    this.#stream = undefined
    await stream.close()
  }

  alive = () => alive(this.connection)
}

async function upload (load, connection, onTaken) {
  const stream = await open(load, connection, PERF)
  stream.send(new Uint8Array(8)) // nothing shall come back
  await sendZeros(stream, ENDLESS_BYTES, onTaken)
}

async function download (load, connection, onGiven) {
  const stream = await open(load, connection, PERF)
  const reading = readMessages(stream, data => onGiven(data.byteLength))
  const head = Buffer.alloc(8)
  head.writeBigUInt64BE(BigInt(ENDLESS_BYTES))
  stream.send(head)
  await stream.close() // our side only
  await reading
}

// Moves bytes on one stream until the load is over.  A stream that fails earlier is missing from then on, and so counts
// whenever that was.
async function transfer (load, way, connection, onBytes) {
  let failure = new Error('stream ended')
  try {
    await way(load, connection, onBytes)
  } catch (error) {
    failure = error
  }
  if (!load.over) {
    load.failed++
    load.lost(failure)
  }
}

async function bulk (load, address) {
  const { connections, streams, direction } = load.settings
  await makeNodes(load, connections)
  const ways = { up: [upload], down: [download], both: [upload, download] }[direction]
  const count = bytes => {
    if (load.measuring) {
      load.units += bytes
    }
  }
  for (const connection of await connect(load, address)) {
    for (let i = 0; i < streams; i++) {
      for (const way of ways) {
        transfer(load, way, connection, count)
      }
    }
  }
  await load.measure()
}

// On one stream of each connection, back to back or at a rate.
async function exchanges (load, connections, protocol, size) {
  const pacer = load.settings.rate > 0 ? new Pacer(load.settings.rate, connections.length) : null
  try {
    connections.forEach((connection, index) => {
      const exchanger = new Exchanger(load, connection, protocol, size)
      repeat(load, () => exchanger.exchange(), exchanger.alive, pacer?.worker(index))
    })
    await load.measure()
  } finally {
    await pacer?.stop()
  }
}

async function rtt (load, address) {
  await makeNodes(load, 1)
  const connections = await connect(load, address)
  if (load.settings.load === 1) {
    transfer(load, upload, connections[0], () => {}) // bytes are no units here
  }
  await exchanges(load, connections, PING, PING_BYTES)
}

async function rr (load, address) {
  await makeNodes(load, load.settings.connections)
  await exchanges(load, await connect(load, address), ECHO, load.settings.size)
}

async function shortStream (load, connection, out) {
  const stream = await open(load, connection, ECHO)
  let left = out.length
  const reading = readMessages(stream, data => { left -= data.byteLength })
  try {
    stream.send(out)
    await stream.close() // our side only
    await reading
    if (left !== 0) {
      throw new Error('the echo does not end where it should')
    }
  } catch (error) {
    stream.abort(error)
    throw error
  }
}

async function streams (load, address) {
  await makeNodes(load, 1)
  const [connection] = await connect(load, address)
  const out = new Uint8Array(load.settings.size)
  for (let i = 0; i < load.settings.inflight; i++) {
    repeat(load, () => shortStream(load, connection, out), () => alive(connection))
  }
  await load.measure()
}

async function idle (load, address) {
  await makeNodes(load, load.settings.connections)
  const start = performance.now()
  const connections = await connect(load, address)
  load.result.setupSeconds = (performance.now() - start) / 1000
  await load.measure()
  load.units = connections.filter(alive).length
  load.failed = connections.length - load.units
}

async function storm (load, address) {
  await makeNodes(load, load.settings.connections)
  const target = multiaddr(address)
  load.print('begin')
  const begin = performance.now()
  load.measuring = true
  await Promise.all(load.nodes.map(node => node.dial(target).then(
    () => load.done(performance.now() - begin),
    () => load.missed()
  )))
  load.result.seconds = (performance.now() - begin) / 1000
  load.measuring = false
  load.print('end')
}

// Tells when a node has answered an identify request of the other side.
async function watchIdentify (node) {
  const watch = { told: Promise.withResolvers() }
  const { identify } = node.services
  await node.handle('/ipfs/id/1.0.0', async (stream, connection) => {
    await identify.handleProtocol(stream, connection)
    watch.told.resolve()
  }, { force: true, runOnLimitedConnection: true })
  return watch
}

// A node connects, identifies and is identified, pings and disconnects.
async function shakeHands (load, node, watch, target) {
  watch.told = Promise.withResolvers()
  const known = identified(node)
  const closed = Promise.withResolvers()
  const connection = await node.dial(target)
  connection.addEventListener('close', () => closed.resolve())
  try {
    const lost = closed.promise.then(() => { throw new Error('connection lost') })
    lost.catch(() => {})
    await Promise.race([Promise.all([known, watch.told.promise]), lost])
    const exchanger = new Exchanger(load, connection, PING, PING_BYTES)
    await exchanger.exchange()
    await exchanger.close()
  } catch (error) {
    connection.abort(error)
    throw error
  }
  await connection.close()
  await closed.promise
}

async function handshake (load, address) {
  const target = multiaddr(address)
  const { parallel, distinct } = load.settings
  await makeNodes(load, parallel)
  for (let i = 0; i < parallel; i++) {
    let watch = await watchIdentify(load.nodes[i])
    const unit = () => within(HANDSHAKE_MS_MAX, shakeHands(load, load.nodes[i], watch, target))
    const renew = async () => {
      await stop(load.nodes[i])
      const node = load.nodes[i] = await makeNode(load)
      watch = await watchIdentify(node)
      if (load.over) { // nobody else will stop this one
        await stop(node)
      }
    }
    repeat(load, unit, () => true, null, distinct ? renew : null)
  }
  await load.measure()
}

// So many peers of the listening node, when they are there and known to serve echo: a connection to each.
async function waitPeers (load) {
  const { listener } = load.program
  const known = new Map()
  for (const until = performance.now() + SETUP_MS_MAX; performance.now() < until; await later(20)) {
    for (const connection of listener.getConnections()) {
      const id = connection.remotePeer.toString()
      if (known.get(id)?.status !== 'open') {
        const peer = await listener.peerStore.get(connection.remotePeer).catch(() => null)
        if (peer?.protocols.includes(ECHO)) {
          known.set(id, connection)
        }
      }
    }
    const connections = [...known.values()].filter(alive)
    if (connections.length >= load.settings.connections) {
      return connections.slice(0, load.settings.connections)
    }
  }
  throw new Error('not so many peers are connected')
}

// The listening node writes to all its peers, reads all the echoes, and begins again.
async function rounds (load, exchangers) {
  let start = performance.now()
  while (!load.over && exchangers.length > 0) {
    let failure
    await Promise.all(exchangers.map(exchanger => exchanger.exchange().then(() => {
      if (load.measuring) {
        load.units++
      }
    }, error => {
      load.missed()
      failure = error
    })))
    const now = performance.now()
    if (load.measuring) {
      load.took(now - start)
    }
    start = now
    if (failure != null) {
      const left = exchangers.filter(exchanger => exchanger.alive())
      if (left.length < exchangers.length) {
        exchangers = left
        load.lost(failure)
      }
    }
  }
}

async function fanout (load, address) {
  if (address !== '-') {
    throw new Error('fanout takes - for an address')
  }
  const connections = await waitPeers(load)
  const exchangers = connections.map(connection => new Exchanger(load, connection, ECHO, load.settings.size))
  rounds(load, exchangers)
  try {
    await load.measure()
  } finally {
    load.end()
    exchangers.forEach(exchanger => exchanger.abort(new Error('over')))
  }
}

export const works = { bulk, handshake, rtt, rr, streams, idle, storm, fanout }
