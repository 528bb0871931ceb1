import { statSync } from 'node:fs'
import { harmless } from '../../src/errors.ts'
import {
  copy as copyStore,
  copyToFile,
  dump as dumpStore,
  restore as restoreStore,
} from '../../src/features/backup/backup.ts'
import { isServerUrl } from '../base/server-url.ts'
import { locked, requireThere } from './actions.ts'
import type { FileFlags } from './commands.ts'
import { kindOf } from './kind.ts'
import { Progress } from './progress.ts'
import { checkReport, type Report } from './report.ts'
import { ServerStore } from './server-store.ts'

/** What actions.ts does, of stores on a server: here, since files need nothing of it. */

export async function dump(
  url: string,
  to: string,
  flags: FileFlags & { overwrite?: true },
): Promise<Report> {
  return withStore(url, flags, 'dumping', async (store) => {
    await dumpStore(store.content(store.kind, false), to, { overwrite: flags.overwrite ?? false })
    return { ...written(to), records: store.there.records }
  })
}

export async function restore(url: string, from: string, flags: FileFlags): Promise<Report> {
  requireThere(from)
  return withStore(url, flags, 'restoring', async (store) => {
    const kind = kindFor(store, from, flags)
    await restoreStore(store.content(kind, true), from)
    return intoServer(url, flags, from, 'restored')
  })
}

export async function check(url: string, flags: FileFlags): Promise<Report> {
  return withStore(url, flags, 'checking', async (store) => checkReport(store.path, await store.check()))
}

export async function copy(
  from: string,
  to: string,
  flags: FileFlags & { overwrite?: true },
): Promise<Report> {
  const overwrite = flags.overwrite ?? false
  if (!isServerUrl(to)) {
    return withStore(from, flags, 'copying', async (store) => {
      await copyToFile(store.content(store.kind, false), to, overwrite)
      return { ...written(to), from: store.path, records: store.there.records }
    })
  }
  return withStore(to, flags, 'copying', async (target, progress) => {
    if (!isServerUrl(from)) {
      requireThere(from)
      const kind = kindFor(target, from, flags)
      await locked(from, from, flags, (source) => copyStore(source, target.content(kind, overwrite)))
      return intoServer(to, flags, from, 'copied')
    }
    await using source = await ServerStore.at(from, { timeoutMs: flags.timeout, progress })
    if (source.path === target.path)
      throw new Error(`${from === to ? target.path : source.path}: a store cannot be copied to itself`)
    await copyStore(source.content(source.kind, false), target.content(source.kind, overwrite))
    return intoServer(to, flags, source.path, 'copied')
  })
}

/** The kind of a file that is to become a store. @throws where that is of another kind, or nobody can say */
function kindFor(store: ServerStore, file: string, { store: said }: FileFlags): ServerStore['kind'] {
  // A store of text takes whatever it can load.
  if (store.found && store.kind === 'text') return 'text'
  return kindOf(file, said)
}

async function withStore<T>(
  url: string,
  { timeout, lockPath }: FileFlags,
  title: string,
  run: (store: ServerStore, progress: Progress) => Promise<T>,
): Promise<T> {
  if (lockPath !== undefined)
    throw new TypeError('--lock-path is for files: a store on a server has no lock file')
  using progress = new Progress(title)
  await using store = await ServerStore.at(url, { timeoutMs: timeout, progress })
  progress.at('reading')
  return await run(store, progress)
}

function written(to: string): Report {
  const bytes = statSync(to).size
  return { text: harmless(`${to}: ${bytes} bytes`), found: false, file: to, bytes }
}

async function intoServer(url: string, { timeout }: FileFlags, from: string, done: string): Promise<Report> {
  using progress = new Progress('looking')
  await using store = await ServerStore.at(url, { timeoutMs: timeout, progress })
  const { records } = store.there
  const what = store.kind === 'nedb' ? `, ${records} records` : ''
  const report = { found: false, file: store.path, from }
  const text = harmless(`${store.path}: ${done}${what}`)
  return store.kind === 'nedb' ? { ...report, text, records } : { ...report, text }
}
