import { isAbsolute, resolve } from 'node:path'
import { orUndefined } from '../errors.ts'

/**
 * Modules of Node's that a program pays for: together 5 ms, a quarter of `import 'pslock'`. Each is loaded when
 * something first needs it. An `import` at the top of a file is for those that Node has loaded before any program.
 */

export const crypto: () => typeof import('node:crypto') = lazily('node:crypto')

export const net: () => typeof import('node:net') = lazily('node:net')

export const zlib: () => typeof import('node:zlib') = lazily('node:zlib')

const threads: () => typeof import('node:worker_threads') = lazily('node:worker_threads')

let isMain: boolean | undefined

/** Whether this is no worker thread. `node:worker_threads`, which says so too, takes over a millisecond to load. */
export function isMainThread(): boolean {
  isMain ??= asChdirSays() ?? threads().isMainThread
  return isMain
}

/** Worker threads have no process.chdir(); where there is one, it refuses to go nowhere. */
function asChdirSays(): boolean | undefined {
  try {
    process.chdir(undefined as unknown as string)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ERR_WORKER_UNSUPPORTED_OPERATION') return false
    if (code === 'ERR_INVALID_ARG_TYPE') return true
  }
  return undefined
}

type BuiltIn = Parameters<typeof process.getBuiltinModule>[0]

function lazily<T>(id: string): () => T {
  let module: T | undefined
  return () => {
    module ??= process.getBuiltinModule(id as BuiltIn) as T
    return module
  }
}

let required: NodeJS.Require | undefined

/**
 * `require`, for native bindings and optional packages: loaded late, synchronously, and from `node_modules` whatever
 * bundler the program went through. Looked for where this code is; a bundle in ES modules does not tell, so there it is
 * where the program is.
 */
export function requireLate(): NodeJS.Require {
  const { createRequire } = process.getBuiltinModule('node:module')
  required ??= createRequire(ownPath() ?? (import.meta.url as string | undefined) ?? programPath())
  return required
}

/** In CommonJS; for text that is evaluated there is a `[eval]`, which ES modules see as well. */
function ownPath(): string | undefined {
  return typeof __filename === 'string' && isAbsolute(__filename) ? __filename : undefined
}

function programPath(): string {
  return resolve(process.argv[1] ?? 'program')
}

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
  /** Its number. */
  errno(): number
  /** Where a buffer is. It must have more than 64 bytes: V8 moves smaller ones about. */
  addressOf(memory: Buffer): bigint
}

/**
 * koffi's binaries, each a package of its own: these have no install script, which koffi itself has, and npm 12 and pnpm
 * ask their users about. koffi is for platforms that are not among our dependencies.
 */
const PACKAGES = [`@koromix/koffi-${process.platform}-${process.arch}`, 'koffi']

let loaded: Libc | undefined
/** Whether it is loaded already. */
export let isLibcLoaded = false

/** Whether it is installed; it is not loaded for that. */
export function hasLibc(): boolean {
  return PACKAGES.some((name) => orUndefined(() => requireLate().resolve(name)) !== undefined)
}

function loadKoffi(): Koffi {
  const [own = '', whole = ''] = PACKAGES
  try {
    return requireLate()(own) as Koffi
  } catch (error) {
    const koffi = orUndefined(() => requireLate()(whole) as Koffi)
    if (koffi) return koffi
    throw error
  }
}

/** @throws whatever keeps koffi from loading: not installed, or no binary for this platform */
export function libc(): Libc {
  if (loaded) return loaded
  const koffi = loadKoffi()
  const library = koffi.load(null)
  isLibcLoaded = true
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))
  loaded = {
    func: <F extends (...args: never[]) => number>(prototype: string) => library.func(prototype) as F,
    errno: koffi.errno,
    errnoName: () => names.get(koffi.errno()) ?? 'EIO',
    addressOf: (memory) => koffi.address(memory),
  }
  return loaded
}
