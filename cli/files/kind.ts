import { existsSync, readFileSync, statSync } from 'node:fs'
import { lowdbFormat } from '../../adapters/lowdb/file-format.ts'
import { nedbFormat } from '../../adapters/nedb/file-format.ts'
import type { FileFormat } from '../../src/db/dump/file-format.ts'
import { CorruptStoreError } from '../../src/errors.ts'

/** The kinds of files that the command line knows. */
export const KINDS = ['nedb', 'lowdb'] as const
export type Kind = (typeof KINDS)[number]

const FORMATS: Record<Kind, FileFormat> = { nedb: nedbFormat, lowdb: lowdbFormat }

/**
 * What a file is said to be, or what it looks like: one with a line that is a record of NeDB's is NeDB's; one that begins
 * like JSON is lowdb's. @throws where it looks like neither
 */
export function formatOf(file: string, said: Kind | undefined): FileFormat {
  const kind = said ?? kindOf(contentOf(file))
  if (kind) return FORMATS[kind]
  throw new Error(
    `${file} looks neither like a file of NeDB nor like one of lowdb: say which it is, by --store nedb or --store lowdb`,
  )
}

/** @throws where two files look like different kinds of stores, and nobody said what they are */
export function requireSameKind(file: string, dump: string, said: Kind | undefined): void {
  if (said || !existsSync(file)) return
  const [own, other] = [file, dump].map((name) => kindOf(contentOf(name)))
  if (!own || !other || own === other) return
  throw new Error(
    `${file} looks like a file of ${own}, and ${dump} like one of ${other}. If it shall be so: --store ${other}`,
  )
}

/** To read a FIFO would wait until somebody writes into it. @throws CorruptStoreError */
function contentOf(path: string): Buffer {
  if (statSync(path).isFile()) return readFileSync(path)
  throw new CorruptStoreError(`${path} is not a regular file and cannot be a data file`, { path })
}

function kindOf(bytes: Buffer): Kind | undefined {
  const text = bytes.toString()
  if (text.split('\n').some(isNedbRecord)) return 'nedb'
  return /^\s*[[{]/.test(text) ? 'lowdb' : undefined
}

function isNedbRecord(line: string): boolean {
  if (!/^\s*\{.*\}\s*$/.test(line)) return false
  try {
    return Object.keys(JSON.parse(line) as object).some((key) => key === '_id' || key.startsWith('$$'))
  } catch {
    return false
  }
}
