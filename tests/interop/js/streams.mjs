// Reading, writing and serving streams.
import { createHash } from 'node:crypto'

export const ECHO = '/echo/1.0.0'
export const PERF = '/perf/1.0.0'
export const HALF = '/half/1.0.0'
export const RESET = '/reset/1.0.0'

export const CHUNK_BYTES = 64 << 10
export const STREAMS_MAX = 10000 // per protocol; the library's default of 32 and 64 is less than the cases use
const zeros = new Uint8Array(256 << 10)

// A promise that may fail before somebody waits for it.
function observed (executor) {
  const promise = new Promise(executor)
  promise.catch(() => {})
  return promise
}

// Reads to the end and hands each message to onMessage.  Not with `for await`: that misses an end of the input that
// came before it began, as it does with a peer that sends protocol, data and end at once.  For the same reason call it
// before awaiting anything else.
export function readMessages (stream, onMessage) {
  return observed((resolve, reject) => {
    const end = () => {
      if (stream.status === 'reset' || stream.status === 'aborted') {
        reject(new Error(`stream ${stream.status}`))
      } else {
        resolve()
      }
    }
    stream.addEventListener('message', ({ data }) => {
      try {
        onMessage(data)
      } catch (error) {
        reject(error)
      }
    })
    stream.addEventListener('end', end)
    stream.addEventListener('close', end)
    if (stream.readableEnded) {
      end()
    }
  })
}

// The same for each piece of a message.
export function readAll (stream, onData) {
  return readMessages(stream, data => {
    if (data instanceof Uint8Array) {
      onData(data)
    } else {
      for (const part of data) {
        onData(part)
      }
    }
  })
}

// Once onDrain() has waited, it never waits again (@libp2p/utils 7.4.1): from then on the library collects what is
// written, and sends it in data frames as large as the window.  Users of the library do the same, so it stays.
export async function write (stream, data) {
  if (!stream.send(data)) {
    await stream.onDrain()
  }
}

// Sends so many zero bytes, no faster than the stream takes them.
export function sendZeros (stream, bytes, onTaken = () => {}) {
  return observed((resolve, reject) => {
    const more = () => {
      try {
        while (bytes > 0 && !stream.writableNeedsDrain) {
          const chunk = bytes < zeros.length ? zeros.subarray(0, bytes) : zeros
          bytes -= chunk.length
          stream.send(chunk)
          onTaken(chunk.length)
        }
      } catch (error) {
        return reject(error)
      }
      if (bytes === 0) {
        stream.removeEventListener('drain', drained)
        resolve()
      }
    }
    // Behind what the library does now: it sends what this stream and the others of the connection still have.
    const drained = () => queueMicrotask(() => queueMicrotask(more))
    stream.addEventListener('drain', drained)
    stream.addEventListener('close', () => reject(new Error(`stream ${stream.status}`)))
    more()
  })
}

function echo (stream) {
  return readMessages(stream, data => { stream.send(data) })
}

// A big-endian count of bytes to send, then the upload up to its end, then those bytes.
async function perf (stream) {
  let head = Buffer.alloc(0)
  await readMessages(stream, data => {
    if (head.length < 8) {
      head = Buffer.concat([head, data.subarray(0, 8 - head.length)])
    }
  })
  await sendZeros(stream, Number(head.readBigUInt64BE()))
}

async function half (stream) {
  const hash = createHash('sha256')
  await readAll(stream, data => { hash.update(data) })
  await write(stream, Buffer.from(hash.digest('hex')))
}

async function reset (stream) {
  await readAll(stream, data => {
    if (data.includes(10)) {
      throw new Error('reset as asked') // the library has no way to send a code
    }
  })
}

async function handle (node, protocol, handler) {
  await node.handle(protocol, async stream => {
    try {
      await handler(stream)
      await stream.close()
    } catch (error) {
      stream.abort(error)
    }
  }, { maxInboundStreams: STREAMS_MAX, maxOutboundStreams: STREAMS_MAX })
}

export async function serveEcho (node) {
  await handle(node, ECHO, echo)
}

export async function serve (node) {
  await serveEcho(node)
  await handle(node, PERF, perf)
  await handle(node, HALF, half)
  await handle(node, RESET, reset)
}
