// Reading, writing and serving streams.
import { createHash } from 'node:crypto'

export const ECHO = '/echo/1.0.0'
export const PERF = '/perf/1.0.0'
export const HALF = '/half/1.0.0'
export const RESET = '/reset/1.0.0'

export const CHUNK_BYTES = 64 << 10
export const STREAMS_MAX = 10000 // per protocol; the library's default of 32 and 64 is less than the cases use

// Reads to the end and hands each part to onData, one after the other.  Not with `for await`: that misses an
// end of the input that came before it began, as it does with a peer that sends protocol, data and end at once.
// For the same reason call it before awaiting anything else.
export function readAll (stream, onData) {
  return new Promise((resolve, reject) => {
    let done = Promise.resolve()
    const end = () => {
      if (stream.status === 'reset' || stream.status === 'aborted') {
        reject(new Error(`stream ${stream.status}`))
      } else {
        done.then(resolve, reject)
      }
    }
    stream.addEventListener('message', ({ data }) => {
      for (const part of data instanceof Uint8Array ? [data] : data) {
        done = done.then(() => onData(part))
      }
      done.catch(reject)
    })
    stream.addEventListener('end', end)
    stream.addEventListener('close', end)
    if (stream.readableEnded) {
      end()
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

const zeros = new Uint8Array(CHUNK_BYTES)

export async function sendZeros (stream, bytes) {
  for (; bytes > 0; bytes -= CHUNK_BYTES) {
    await write(stream, bytes < CHUNK_BYTES ? zeros.subarray(0, bytes) : zeros)
  }
}

async function echo (stream) {
  await readAll(stream, data => write(stream, data))
}

// A big-endian count of bytes to send, then the upload up to its end, then those bytes.
async function perf (stream) {
  let head = Buffer.alloc(0)
  await readAll(stream, data => {
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

export async function serve (node) {
  for (const [protocol, handler] of [[ECHO, echo], [PERF, perf], [HALF, half], [RESET, reset]]) {
    await node.handle(protocol, async stream => {
      try {
        await handler(stream)
        await stream.close()
      } catch (error) {
        stream.abort(error)
      }
    }, { maxInboundStreams: STREAMS_MAX, maxOutboundStreams: STREAMS_MAX })
  }
}
