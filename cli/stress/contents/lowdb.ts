import { copyFileSync, existsSync } from 'node:fs'
import { JSONFile } from 'lowdb/node'
import type { Blog } from '../stores/lowdb.ts'
import { type Content, trace } from './content.ts'

const NOTHING: Content = {
  damaged: [],
  records: [],
  counters: new Map(),
  claims: [],
  registers: [],
  trail: [],
}

/** Reads a copy with the vanilla library. */
export async function readLowdb(path: string): Promise<Content> {
  if (!existsSync(path)) return { ...NOTHING, unreadable: 'there is no file' }
  const copy = `${path}.copy`
  copyFileSync(path, copy)
  let data: Partial<Blog> | null
  try {
    data = await new JSONFile<Partial<Blog>>(copy).read()
  } catch (error) {
    return { ...NOTHING, unreadable: (error as Error).message }
  }
  const posts = data?.posts ?? []
  return {
    damaged: [],
    records: posts.map((post) => ({ id: String(post?.id), record: post })),
    counters: new Map(Object.entries(data?.counters ?? {})),
    claims: Object.entries(data?.claims ?? {}).map(([key, id]) => ({ key, id })),
    registers: Object.entries({ ...data?.registers, ...data?.unique }).map(([key, value]) => ({
      key,
      value,
    })),
    // Edits do not move a post: the order is that of the insertions.
    trail: posts.map((post) => trace.version(String(post?.id), 0)),
  }
}
