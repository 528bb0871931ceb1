import { createServer, type Server, type Socket } from 'node:net'
import type { LockMode } from '../../src/errors.ts'
import { lockInternals, type PsLock } from '../../src/lock/lock.ts'
import { ANSWER, environmentWith, passedHold, QUESTION } from '../../src/lock/passed-lock.ts'
import { answer, canPassDescriptors, peerOf } from '../../src/os/descriptor-passing.ts'
import { hasLibc } from '../../src/os/modules.ts'
import { descends } from '../../src/os/processes.ts'

/** A connection that has asked nothing for so long is closed. */
const SILENT_MS = 5000

/** A hold that the command, and what it starts, may go into: src/lock/passed-lock.ts says how. */
export interface PassedOn extends Disposable {
  /** The locked descriptor, and what else says that it is in use. */
  readonly descriptors: readonly number[]
  /** What the command must have in its environment. */
  readonly environment: Record<string, string>
}

/** @param lock is held, in that mode */
export function passOn(lock: PsLock, mode: LockMode): PassedOn {
  const descriptors = lockInternals.entry(lock, mode).entry.file.passOn?.() ?? []
  const isPossible = descriptors.length > 0 && canPassDescriptors && hasLibc()
  const room = isPossible ? openRoom(descriptors, mode) : undefined
  return {
    descriptors,
    environment: environmentWith(passedHold(lock.path, mode, room?.name)),
    [Symbol.dispose]: () => room?.close(),
  }
}

interface Room {
  readonly name: string
  close(): void
}

function openRoom(descriptors: readonly number[], mode: LockMode): Room {
  const name = uniqueName()
  const inside = new Map<Socket, LockMode>()
  const connections = new Set<Socket>()

  /** Those inside exclude each other as if this were the lock. */
  const reply = (socket: Socket, asked: LockMode): void => {
    const connection = descriptorOf(socket)
    const peer = connection === undefined ? undefined : peerOf(connection)
    if (connection === undefined || peer === undefined || !descends(peer, process.pid)) {
      socket.end(ANSWER.stranger)
    } else if (asked === 'exclusive' && mode === 'shared') {
      socket.end(ANSWER.upgrade)
    } else if (asked === 'exclusive' ? inside.size > 0 : [...inside.values()].includes('exclusive')) {
      socket.end(ANSWER.busy)
    } else if (answer(connection, ANSWER.granted, descriptors)) {
      inside.set(socket, asked)
    } else {
      socket.destroy()
    }
  }

  const server: Server = createServer((socket) => {
    connections.add(socket)
    socket.setTimeout(SILENT_MS, () => {
      if (!inside.has(socket)) socket.destroy()
    })
    // Whoever asked was killed, or does not wait any longer: `close` follows.
    socket.on('error', () => {})
    socket.on('close', () => {
      inside.delete(socket)
      connections.delete(socket)
    })
    socket.once('data', (bytes) => {
      socket.resume()
      const asked = bytes.toString('latin1') === QUESTION.shared ? 'shared' : 'exclusive'
      try {
        reply(socket, asked)
      } catch {
        // No koffi for this platform.
        socket.destroy()
      }
    })
  })
  server.on('error', () => {})
  server.listen(`\0${name}`)
  return {
    name,
    close: () => {
      server.close()
      for (const socket of connections) socket.destroy()
    },
  }
}

/** Length of sun_path of unix(7), but for the NUL that makes a name abstract. Node 20 fills shorter names with more of them. */
const NAME_LENGTH = 107

/** Others who know it gain nothing: who asks is told by the kernel. */
function uniqueName(): string {
  const noise = Math.random().toString(36).slice(2)
  return `pslock-${process.pid}-${process.hrtime.bigint().toString(36)}-${noise}-`.padEnd(NAME_LENGTH, '0')
}

/** Node tells it of no socket; where it does not have it here, nobody is let in. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } | null }
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
}
