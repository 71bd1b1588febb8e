// A js-libp2p peer for the interoperation tests.  Command line, protocols and answers: ../README.md.
import './polyfill.mjs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { plaintext } from '@libp2p/plaintext'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { cases } from './cases.mjs'
import { about, load } from './load.mjs'
import { serve } from './streams.mjs'

const KEY_TYPES = { ed25519: 'Ed25519', rsa: 'RSA', secp256k1: 'secp256k1' } // ECDSA host keys: unsupported
const SECURITY = { noise, tls, plaintext }
const earlyMuxer = new Map() // by the remote's id: whether the security handshake agreed on the muxer
const COMMAND_SECONDS_MAX = 60
const LEARNED_SECONDS_MAX = 10
const LEARNED_MAX = 64 // what is kept of all that identify tells a program under load
const CONNECT_MS_MAX = 60_000 // when thousands dial at once, the usual 5 to 10 s are few
const PING_MS_MAX = 60_000 // when hundreds are busy, so are the usual 5 s in which a connection must answer
const ACCEPT_BACKLOG = 4096

// Forgets the oldest entries of a map.
function keepLatest (map, key, value) {
  map.delete(key)
  map.set(key, value)
  if (map.size > LEARNED_MAX) {
    map.delete(map.keys().next().value)
  }
}

// The same encrypter, which also takes down whether it agreed on the muxer.
function watched (factory) {
  return components => {
    const encrypter = factory(components)
    for (const method of ['secureInbound', 'secureOutbound']) {
      const secure = encrypter[method].bind(encrypter)
      encrypter[method] = async (...args) => {
        const secured = await secure(...args)
        keepLatest(earlyMuxer, secured.remotePeer.toString(), secured.streamMuxer != null)
        return secured
      }
    }
    return encrypter
  }
}

// A node with a fresh identity; the library's default limits are lifted, for they would count all of a
// test's connections against the one address that they come from.
async function newNode (options, listens) {
  return createLibp2p({
    privateKey: await generateKeyPair(KEY_TYPES[options.key], 2048),
    addresses: { listen: listens ? [`/ip4/${options.host}/tcp/0`] : [] },
    transports: [tcp({ backlog: ACCEPT_BACKLOG })],
    connectionEncrypters: options.security.split(',').map(name => watched(SECURITY[name]())),
    streamMuxers: [yamux()],
    connectionManager: {
      inboundConnectionThreshold: Infinity,
      maxConnections: 1e6,
      maxIncomingPendingConnections: 1e5,
      dialTimeout: CONNECT_MS_MAX,
      addressDialTimeout: CONNECT_MS_MAX,
      inboundUpgradeTimeout: CONNECT_MS_MAX
    },
    connectionMonitor: { pingTimeout: { minTimeout: PING_MS_MAX } },
    services: {
      identify: identify({ timeout: CONNECT_MS_MAX }),
      identifyPush: identifyPush(),
      // The connection monitor has a ping stream of its own, and gives up a connection where it gets none.
      ping: ping({ maxInboundStreams: 16, maxOutboundStreams: 16 })
    }
  })
}

// What identify told.  The library fails identify as a whole when the signed record is not valid.
function describe ({ detail }) {
  return {
    remoteId: detail.peerId.toString(),
    agent: detail.agentVersion ?? '',
    protocolVersion: detail.protocolVersion ?? '',
    protocols: detail.protocols,
    listenAddrs: (detail.signedPeerRecord?.addresses ?? detail.listenAddrs).map(a => a.toString()),
    observedAddr: detail.observedAddr?.toString() ?? '',
    signedPeerRecord: detail.signedPeerRecord == null ? 'none' : 'valid',
    security: detail.connection.encryption,
    earlyMuxer: earlyMuxer.get(detail.peerId.toString())
  }
}

// The library also throws events.
function describeError (error) {
  return error instanceof Error ? `${error.name}: ${error.message}` : `${error?.type ?? error}`
}

// Keeps what a node learns.
class Learned {
  #found = new Map()
  #waiting = new Map()

  constructor (node) {
    node.addEventListener('peer:identify', event => {
      const id = event.detail.peerId.toString()
      keepLatest(this.#found, id, event)
      this.#waiting.get(id)?.resolve(event)
      this.#waiting.delete(id)
    })
  }

  async of (id) {
    if (!this.#found.has(id) && !this.#waiting.has(id)) {
      this.#waiting.set(id, Promise.withResolvers())
    }
    return describe(this.#found.get(id) ?? await this.#waiting.get(id).promise)
  }
}

async function within (seconds, promise) {
  const late = Promise.withResolvers()
  const timer = setTimeout(() => late.reject(new Error('timed out')), seconds * 1000)
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

class Program {
  constructor (options, listener) {
    this.options = options
    this.listener = listener
    this.learned = new Learned(listener)
    this.kept = []
  }

  async run (tag, name, args) {
    if (name === 'about' && args.length === 0) {
      return about()
    }
    if (name === 'load' && args.length >= 2) {
      const print = event => console.log(JSON.stringify({ id: tag, event }))
      return load({ listener: this.listener, newNode: () => newNode(this.options, false), print }, ...args)
    }
    switch (`${name} ${args.length}`) {
      case 'learned 1':
        return within(LEARNED_SECONDS_MAX, this.learned.of(args[0]))
      case 'disconnect 1':
        return within(COMMAND_SECONDS_MAX, this.listener.hangUp(peerIdFromString(args[0])))
      case 'simultaneous 1':
        return within(COMMAND_SECONDS_MAX, this.simultaneous(args[0]))
    }
    const known = cases[name]
    if (known == null || known.length !== args.length + 1) {
      throw new Error(`no command ${name} with ${args.length} arguments`)
    }
    const [address, ...numbers] = args
    const node = await newNode(this.options, false)
    const seconds = COMMAND_SECONDS_MAX + (name === 'idle' ? Number(numbers[0]) : 0)
    try {
      return await within(seconds, known({ node, learned: new Learned(node) }, address, ...numbers.map(Number)))
    } finally {
      if (name === 'identify') {
        this.kept.push(node) // the other side may be asked what it learned
      } else {
        await node.stop()
      }
    }
  }

  // Dials from the listening node, which the other side is told to dial at the same moment.
  async simultaneous (address) {
    const answer = await cases.ping({ node: this.listener }, address, 1)
    const remote = peerIdFromString(address.split('/').at(-1))
    return { ...answer, connections: this.listener.getConnections(remote).length }
  }
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { key: { type: 'string', default: 'ed25519' }, security: { type: 'string', default: 'noise' },
    host: { type: 'string', default: '127.0.0.1' } }
})
if (positionals[0] !== 'listen' || KEY_TYPES[options.key] == null) {
  console.error('usage: peer.mjs listen --key ed25519|rsa|secp256k1 [--security LIST] [--host IP]')
  process.exit(2)
}
const listener = await newNode(options, true)
await serve(listener)
const program = new Program(options, listener)
for (const address of listener.getMultiaddrs()) {
  console.log(address.toString())
}
console.log('ready')

for await (const line of createInterface({ input: process.stdin })) {
  const [id, name, ...args] = line.trim().split(/\s+/)
  program.run(id, name, args)
    .then(found => ({ id, case: name, ok: true, ...found }))
    .catch(error => ({ id, case: name, ok: false, error: describeError(error) }))
    .then(answer => console.log(JSON.stringify(answer)))
}
await Promise.all([listener, ...program.kept].map(node => node.stop()))
process.exit() // a load may still be under way
