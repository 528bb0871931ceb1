import type { StoreName } from '../options.ts'
import type { Content } from './content.ts'

/** Loads the vanilla library, and with it a copy of the file. */
export async function readContent(store: StoreName, path: string): Promise<Content> {
  if (store === 'lowdb') return (await import('./lowdb.ts')).readLowdb(path)
  return (await import('./nedb.ts')).readNedb(path)
}
