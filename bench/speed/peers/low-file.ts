import { readFileSync, writeFileSync } from 'node:fs'
import { Low } from 'lowdb'
import { JSONFile } from 'lowdb/node'
import { type Contents, recordId, TEXT } from '../store.ts'

/** What is in the file: records of some 145 bytes, each with a counter. */
export interface Data {
  records: { id: string; text: string; n: number }[]
}

export const NO_DATA: Data = { records: [] }

/** A file as lowdb itself writes it. */
export function prepareLow(path: string, records: number): void {
  const data: Data = {
    records: Array.from({ length: records }, (_, i) => ({ id: recordId(i), text: TEXT, n: 0 })),
  }
  writeFileSync(path, JSON.stringify(data, null, 2))
}

/** The edit of every update. The file stays about as long as it is. */
export function raise({ records }: Data, record: number): void {
  records[record]!.n++
}

export function vanillaLow(path: string): Low<Data> {
  return new Low<Data>(new JSONFile(path), structuredClone(NO_DATA))
}

/** lowdb's own way to change a file that somebody else may have changed: read, edit, write. */
export async function readRaiseWrite(path: string, record: number): Promise<void> {
  const db = vanillaLow(path)
  await db.read()
  raise(db.data, record)
  await db.write()
}

export function lowContents(path: string): Contents {
  const { records } = JSON.parse(readFileSync(path, 'utf8')) as Data
  return { records: records.length, increments: records.reduce((all, { n }) => all + n, 0) }
}
