import { requireLate } from './builtin.ts'

interface Koffi {
  load(library: null): { func(signature: string): (...args: never[]) => number }
  errno(): number
  address(memory: Buffer): bigint
  os: { errno: Record<string, number> }
}

/** The C library of this process, through koffi: prebuilt, and loaded only when something needs it (about 10 ms). */
export interface Libc {
  /** A function by its C prototype. Calls are synchronous: never one that may block. */
  func<F extends (...args: never[]) => number>(prototype: string): F
  /** The name of the error of the last call, e.g. `EAGAIN`. */
  errnoName(): string
  /** Where a buffer is. It must have more than 64 bytes: V8 moves smaller ones about. */
  addressOf(memory: Buffer): bigint
}

let loaded: Libc | undefined

/** Whether koffi is installed; it is not loaded for that. */
export function hasLibc(): boolean {
  try {
    requireLate().resolve('koffi')
    return true
  } catch {
    return false
  }
}

/** @throws whatever keeps koffi from loading: not installed, or no binary for this platform */
export function libc(): Libc {
  if (loaded) return loaded
  const koffi = requireLate()('koffi') as Koffi
  const library = koffi.load(null)
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))
  loaded = {
    func: <F extends (...args: never[]) => number>(prototype: string) => library.func(prototype) as F,
    errnoName: () => names.get(koffi.errno()) ?? 'EIO',
    addressOf: (memory) => koffi.address(memory),
  }
  return loaded
}
