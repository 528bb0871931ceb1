import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { errnoOf, systemError } from '../errors.ts'
import { isMainThread, libc } from './modules.ts'

/**
 * Handing an open descriptor to another process: unix(7), SCM_RIGHTS. The receiver's is a copy of the same opening of the
 * file, so a flock on it is held until the last copy is closed, whichever process ends first. The socket has an abstract
 * name (no file, gone with its process), and the kernel says who is at its other end (SO_PEERCRED), as a pid of the
 * reader's own namespace.
 *
 * All calls are made on our own descriptors, through koffi: Node can send handles to its own children only, and no files.
 */

/** The layouts and numbers below are those of 64-bit Linux on these: asm-generic/socket.h, linux/socket.h. */
export const canPassDescriptors: boolean =
  process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_PEERCRED = 17
const SO_RCVTIMEO = 20
const SO_SNDTIMEO = 21
const SCM_RIGHTS = 1
const MSG_NOSIGNAL = 0x4000
const MSG_CMSG_CLOEXEC = 0x40000000

const PROTOTYPES = {
  socket: 'int socket(int domain, int type, int protocol)',
  connect: 'int connect(int fd, const void *address, unsigned int length)',
  setsockopt: 'int setsockopt(int fd, int level, int name, const void *value, unsigned int length)',
  getsockopt: 'int getsockopt(int fd, int level, int name, void *value, void *length)',
  sendmsg: 'intptr_t sendmsg(int fd, const void *message, int flags)',
  recvmsg: 'intptr_t recvmsg(int fd, void *message, int flags)',
  dup3: 'int dup3(int from, int to, int flags)',
  close: 'int close(int fd)',
} as const

type Calls = Record<keyof typeof PROTOTYPES, (...args: (number | Buffer)[]) => number>

let bound: Calls | undefined

/** @throws whatever keeps koffi from loading */
function calls(): Calls {
  const { func } = libc()
  const bind = ([name, prototype]: [string, string]) => [name, func(prototype)]
  bound ??= Object.fromEntries(Object.entries(PROTOTYPES).map(bind)) as Calls
  return bound
}

/**
 * One message of one byte with room for some descriptors, as the kernel wants it: struct msghdr, struct iovec, the byte,
 * and struct cmsghdr with its descriptors. One for all calls, for none of them is asynchronous.
 */
const message = Buffer.alloc(256)
const IOVEC_AT = 64
const BYTE_AT = 96
const CONTROL_AT = 128
const CONTROL_LENGTH_AT = 40
/** The length of struct cmsghdr. */
const HEAD_BYTES = 16
const DESCRIPTORS_AT = CONTROL_AT + HEAD_BYTES

/** So many descriptors fit in a message. */
const MOST_DESCRIPTORS: number = (message.length - DESCRIPTORS_AT) / 4

/** @param descriptors room for how many */
function prepare(byte: string, descriptors: number): Buffer {
  const address = libc().addressOf(message)
  message.fill(0)
  message.writeBigUInt64LE(address + BigInt(IOVEC_AT), 16)
  message.writeBigUInt64LE(1n, 24)
  message.writeBigUInt64LE(address + BigInt(BYTE_AT), IOVEC_AT)
  message.writeBigUInt64LE(1n, IOVEC_AT + 8)
  message.write(byte, BYTE_AT, 'latin1')
  if (descriptors === 0) return message
  message.writeBigUInt64LE(address + BigInt(CONTROL_AT), 32)
  // CMSG_SPACE of cmsg(3).
  message.writeBigUInt64LE(BigInt(HEAD_BYTES + 8 * Math.ceil(descriptors / 2)), CONTROL_LENGTH_AT)
  return message
}

function addressOf(name: string): Buffer {
  return Buffer.from(`\x01\0\0${name}`, 'latin1')
}

/** The process that has connected; undefined where it cannot be seen from this pid namespace. */
export function peerOf(fd: number): number | undefined {
  const credentials = Buffer.alloc(128)
  const length = Buffer.alloc(128)
  length.writeUInt32LE(12, 0)
  if (calls().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0) return undefined
  return credentials.readInt32LE(0) || undefined
}

/** Answers with one byte, and copies of descriptors. @returns whether it is on its way */
export function answer(fd: number, byte: string, descriptors: readonly number[]): boolean {
  if (descriptors.length > MOST_DESCRIPTORS) return false
  const prepared = prepare(byte, descriptors.length)
  prepared.writeBigUInt64LE(BigInt(HEAD_BYTES + 4 * descriptors.length), CONTROL_AT)
  prepared.writeInt32LE(SOL_SOCKET, CONTROL_AT + 8)
  prepared.writeInt32LE(SCM_RIGHTS, CONTROL_AT + 12)
  for (const [index, descriptor] of descriptors.entries())
    prepared.writeInt32LE(descriptor, DESCRIPTORS_AT + 4 * index)
  return calls().sendmsg(fd, prepared, MSG_NOSIGNAL) === 1
}

/** What came back: one byte, perhaps descriptors, and the connection, which the asker closes. */
export interface Answer {
  readonly byte: string
  readonly descriptors: readonly number[]
  readonly connection: number
}

/**
 * Connects, says one byte, and waits for the answer; it blocks the thread for `atMostMs`, a third of a millisecond as a rule.
 * @returns `gone` where nobody listens there any more, `unanswered` where none came in time
 * @throws what the system, or koffi, says
 */
export function ask(name: string, byte: string, atMostMs: number): Answer | 'gone' | 'unanswered' {
  const { socket, connect, setsockopt, recvmsg } = calls()
  const fd = owned(checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket'))
  let isKept = false
  try {
    const wait = Buffer.alloc(128)
    wait.writeBigInt64LE(BigInt(Math.round(atMostMs * 1000)), 8)
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
      checked(setsockopt(fd, SOL_SOCKET, option, wait, 16), 'setsockopt')
    }
    const address = addressOf(name)
    if (connect(fd, address, address.length) !== 0) return failed('connect')
    writeSync(fd, byte)
    const bytes = recvmsg(fd, prepare('', MOST_DESCRIPTORS), MSG_CMSG_CLOEXEC)
    // The end of the stream: whoever closes without a word has ended.
    if (bytes === 0) return 'gone'
    if (bytes < 0) return failed('recvmsg')
    const hasDescriptors = message.readBigUInt64LE(CONTROL_LENGTH_AT) > 0n
    const count = hasDescriptors ? (Number(message.readBigUInt64LE(CONTROL_AT)) - HEAD_BYTES) / 4 : 0
    const copies = Array.from({ length: count }, (_, index) =>
      message.readInt32LE(DESCRIPTORS_AT + 4 * index),
    )
    isKept = true
    const said = message.toString('latin1', BYTE_AT, BYTE_AT + 1)
    return { byte: said, descriptors: copies.map(owned), connection: fd }
  } catch (error) {
    if (['EPIPE', 'ECONNRESET'].includes(errnoOf(error) ?? '')) return 'gone'
    throw error
  } finally {
    if (!isKept) closeSync(fd)
  }
}

/**
 * As if Node had opened it: what a worker thread has open is closed when the thread is terminated, but only what Node
 * knows of. So the descriptor is moved to a number that Node has given out.
 */
function owned(fd: number): number {
  if (isMainThread()) return fd
  try {
    const known = openSync('/dev/null', constants.O_RDONLY)
    calls().dup3(fd, known, SOCK_CLOEXEC)
    return known
  } finally {
    calls().close(fd)
  }
}

function failed(call: string): 'gone' | 'unanswered' {
  const errno = libc().errnoName()
  if (errno === 'ECONNREFUSED' || errno === 'ECONNRESET') return 'gone'
  if (['EAGAIN', 'EWOULDBLOCK', 'EINTR', 'EINPROGRESS'].includes(errno)) return 'unanswered'
  throw systemError(errno, call, call)
}

function checked(result: number, call: string): number {
  if (result >= 0) return result
  throw systemError(libc().errnoName(), call, call)
}
