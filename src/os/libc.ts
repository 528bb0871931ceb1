import { requireLate } from './builtin.ts'

interface Koffi {
  load(library: null): { func(signature: string): (...args: never[]) => number }
  errno(): number
  address(memory: Buffer): bigint
  os: { errno: Record<string, number> }
}

/** The C library of this process, through koffi: prebuilt, and loaded only when something needs it (some 5 ms). */
export interface Libc {
  /** A function by its C prototype. Calls are synchronous: never one that may block. */
  func<F extends (...args: never[]) => number>(prototype: string): F
  /** The name of the error of the last call, e.g. `EAGAIN`. */
  errnoName(): string
  /** Where a buffer is. It must have more than 64 bytes: V8 moves smaller ones about. */
  addressOf(memory: Buffer): bigint
}

/**
 * koffi's binaries, each a package of its own: these have no install script, which koffi itself has, and npm 12 and pnpm
 * ask their users about. koffi is for platforms that are not among our dependencies.
 */
const PACKAGES = [`@koromix/koffi-${process.platform}-${process.arch}`, 'koffi']

let loaded: Libc | undefined

/** Whether it is installed; it is not loaded for that. */
export function hasLibc(): boolean {
  return PACKAGES.some((name) => {
    try {
      requireLate().resolve(name)
      return true
    } catch {
      return false
    }
  })
}

function loadKoffi(): Koffi {
  const [first = '', second = ''] = PACKAGES
  try {
    return requireLate()(first) as Koffi
  } catch (error) {
    try {
      return requireLate()(second) as Koffi
    } catch {
      throw error
    }
  }
}

/** @throws whatever keeps koffi from loading: not installed, or no binary for this platform */
export function libc(): Libc {
  if (loaded) return loaded
  const koffi = loadKoffi()
  const library = koffi.load(null)
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))
  loaded = {
    func: <F extends (...args: never[]) => number>(prototype: string) => library.func(prototype) as F,
    errnoName: () => names.get(koffi.errno()) ?? 'EIO',
    addressOf: (memory) => koffi.address(memory),
  }
  return loaded
}
