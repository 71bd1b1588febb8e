// The commands that dial: each gets a node, an address and its numbers.
import { createHash, randomBytes } from 'node:crypto'
import { multiaddr } from '@multiformats/multiaddr'
import { CHUNK_BYTES, ECHO, HALF, PERF, RESET, STREAMS_MAX, readAll, sendZeros, write } from './streams.mjs'

const PING = '/ipfs/ping/1.0.0'
const PING_BYTES = 32
const STREAM_BYTES = 1 << 10
const HALF_BYTES = 100 << 10

const open = (connection, protocol) => connection.newStream(protocol, { maxOutboundStreams: STREAMS_MAX })
const secondsSince = start => (performance.now() - start) / 1000

async function pingOn (connection, count) {
  const stream = await open(connection, PING)
  const times = []
  let sent, start, pong, got
  const reading = readAll(stream, data => {
    got = Buffer.concat([got, data])
    if (got.length >= PING_BYTES) {
      got.equals(sent) ? pong.resolve() : pong.reject(new Error('other bytes came back'))
    }
  })
  const ended = reading.then(() => { throw new Error('ping stream ended') })
  for (let i = 0; i < count; i++) {
    sent = randomBytes(PING_BYTES)
    got = Buffer.alloc(0)
    pong = Promise.withResolvers()
    start = performance.now()
    await write(stream, sent)
    await Promise.race([pong.promise, ended])
    times.push(performance.now() - start)
  }
  ended.catch(() => {})
  await stream.close()
  times.sort((a, b) => a - b)
  return { rttUs: Math.round(times[times.length >> 1] * 1000), security: connection.encryption }
}

// Sends bytes on a new stream, and returns the SHA-256 of them if they all come back.
async function exchange (connection, count) {
  const stream = await open(connection, ECHO)
  const sent = createHash('sha256')
  const got = createHash('sha256')
  let total = 0
  const reading = readAll(stream, data => {
    got.update(data)
    total += data.length
  })
  const sending = (async () => {
    for (let left = count; left > 0; left -= CHUNK_BYTES) {
      const chunk = randomBytes(Math.min(left, CHUNK_BYTES))
      sent.update(chunk)
      await write(stream, chunk)
    }
    await stream.close()
  })()
  await Promise.all([sending, reading])
  const [there, back] = [sent.digest('hex'), got.digest('hex')]
  if (total !== count || there !== back) {
    throw new Error(`sent ${count} bytes, got ${total} back, or other ones`)
  }
  return back
}

export const cases = {
  async identify ({ node, learned }, address) {
    const connection = await node.dial(multiaddr(address))
    const found = await learned.of(connection.remotePeer.toString())
    return { ...found, localId: node.peerId.toString() }
  },

  async ping ({ node }, address, count) {
    return pingOn(await node.dial(multiaddr(address)), count)
  },

  async echo ({ node }, address, count) {
    const connection = await node.dial(multiaddr(address))
    const start = performance.now()
    return { sha256: await exchange(connection, count), seconds: secondsSince(start) }
  },

  async streams ({ node }, address, total, concurrent) {
    const connection = await node.dial(multiaddr(address))
    const start = performance.now()
    let left = total
    await Promise.all(Array.from({ length: concurrent }, async () => {
      while (left-- > 0) {
        await exchange(connection, STREAM_BYTES)
      }
    }))
    return { failed: 0, seconds: secondsSince(start) }
  },

  async half ({ node }, address) {
    const stream = await open(await node.dial(multiaddr(address)), HALF)
    const data = randomBytes(HALF_BYTES)
    let got = ''
    const reading = readAll(stream, part => { got += Buffer.from(part).toString() })
    await write(stream, data)
    await stream.close() // our side only
    await reading
    if (got !== createHash('sha256').update(data).digest('hex')) {
      throw new Error(`wrong hash after the half-close: ${got}`)
    }
  },

  // The library shows no code.
  async reset ({ node }, address) {
    const connection = await node.dial(multiaddr(address))
    const stream = await open(connection, RESET)
    const reading = readAll(stream, () => {})
    await write(stream, Buffer.from('now\n'))
    try {
      await reading
    } catch (error) {
      if (stream.status === 'reset') {
        await exchange(connection, STREAM_BYTES) // the connection must not have suffered
        return { code: null }
      }
    }
    throw new Error(`expected a reset, but the stream is ${stream.status}`)
  },

  // Succeeds when the dial fails for the id's sake.
  async 'wrong-id' ({ node }, address) {
    let refusal
    try {
      await node.dial(multiaddr(address))
    } catch (error) {
      refusal = `${error.name}: ${error.message}`
      if (/UnexpectedPeerError|does not match expected remote identity/.test(refusal)) {
        return { refusal }
      }
    }
    throw new Error(refusal ?? 'connected to a peer with another id')
  },

  async idle ({ node }, address, seconds) {
    const connection = await node.dial(multiaddr(address))
    const lost = Promise.withResolvers()
    connection.addEventListener('close', () => lost.reject(new Error('connection lost while idle')))
    await Promise.race([lost.promise, new Promise(resolve => setTimeout(resolve, seconds * 1000))])
    lost.promise.catch(() => {})
    return pingOn(connection, 1)
  },

  async perf ({ node }, address, up, down) {
    const stream = await open(await node.dial(multiaddr(address)), PERF)
    let [total, uploaded] = [0, 0]
    const reading = readAll(stream, data => {
      uploaded ||= performance.now()
      total += data.length
    })
    const start = performance.now()
    const head = Buffer.alloc(8)
    head.writeBigUInt64BE(BigInt(down))
    await write(stream, head)
    await sendZeros(stream, up)
    await stream.close()
    await reading
    if (total !== down) {
      throw new Error(`asked for ${down} bytes, got ${total}`)
    }
    uploaded ||= performance.now()
    return { upSeconds: (uploaded - start) / 1000, downSeconds: secondsSince(uploaded) }
  }
}
