import { constants, readdirSync, renameSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { CorruptStoreError, errnoOf } from '../../errors.ts'
import { closeLocked, tryFlock } from '../../os/flock.ts'
import { openFile } from '../../os/open-files.ts'
import { ASIDE, keepAside } from '../../os/replace.ts'
import { allOf, readSnapshot, type Source, Spliced } from '../../store/snapshot.ts'
import {
  type FileFormat,
  type Finding,
  finding,
  findingText,
  isDamage,
  replaceContent,
  type StoreFile,
  shared,
} from './format.ts'

/** What mending took off the file: it may show damage that the first one hid. */
const ROUNDS = 5

/** Looks whether a data file is whole, and what lies beside it; changes nothing. @throws StoreIoError */
export async function check({ path, lock, format }: StoreFile): Promise<Finding[]> {
  const [read, beside] = await shared(lock, async () => {
    const content = await readSnapshot(path, format.endOf)
    return [content, [...((await format.beside?.(path)) ?? []), ...leftoversOf(path)]] as const
  })
  using content = read
  const { findings } = await format.inspect(content.source)
  return [...findings, ...beside]
}

/** What a repair has done. */
export interface Repair {
  /** What was wrong. */
  readonly mended: readonly Finding[]
  /** Where that is kept now which was taken out or put aside. */
  readonly kept: readonly string[]
}

/**
 * Makes a data file whole again by taking out what keeps it from that, all of which is kept in `<file>.removed-<n>`.
 * @throws CorruptStoreError where that cannot be done, and nothing was changed; StoreIoError
 */
export async function repair(file: StoreFile): Promise<Repair> {
  const { path, format } = file
  let mended: Finding[] = []
  const kept: string[] = []
  await replaceContent(file, 0o666, async (old, beside) => {
    // Says that there is no file, in the words of the system.
    const source = old ?? (await readSnapshot(path)).source
    const { findings, content, removed } = await mend(path, format, source)
    const leftovers = leftoversOf(path).filter(isDamage)
    mended = [...findings, ...beside.findings, ...leftovers]
    kept.push(...beside.kept)
    if (removed.length > 0) kept.push(keepAside(path, 'removed', await allOf(removed)))
    for (const { file: leftover } of leftovers) if (leftover) kept.push(putAside(path, leftover))
    return findings.length > 0 ? content : undefined
  })
  return { mended, kept }
}

async function mend(
  path: string,
  format: FileFormat,
  source: Source,
): Promise<{ findings: Finding[]; content: Source; removed: Source }> {
  let all: Finding[] = []
  const removed = new Spliced()
  for (let content = source, round = 1; ; round++) {
    const found = await format.inspect(content)
    const [first] = found.findings
    if (!first) return { findings: all, content, removed }
    if (!found.content || round > ROUNDS) {
      throw new CorruptStoreError(
        `${path} cannot be made a whole ${format.name} file again: ${findingText(first)}. ${first.mend} Nothing was changed.`,
        { path },
      )
    }
    all = [...all, ...found.findings]
    removed.add(found.removed)
    content = found.content
  }
}

/** The name stands for it before the leftover is moved there: nothing of that name is replaced. */
function putAside(path: string, leftover: string): string {
  const name = keepAside(path, 'removed', Buffer.alloc(0))
  renameSync(leftover, name)
  return name
}

/**
 * What others have left beside a data file: temp files of writers that died, and what was kept aside. Called under the
 * file's lock, when nobody writes it; the temp file of a dump, which is made without that lock, is locked itself.
 * @param path the real one
 */
function leftoversOf(path: string): Finding[] {
  const folder = dirname(path)
  const name = basename(path)
  const findings: Finding[] = []
  for (const other of readdirSync(folder).sort()) {
    const file = join(folder, other)
    if (isTemp(name, other) && !isInUse(file)) {
      const mend = '`pslock repair` puts it aside. Without the data file NeDB would take a `~` file for it.'
      findings.push(finding('leftover', 'the temp file of a writer that did not finish', mend, { file }))
    } else if (isAside(name, other)) {
      const message = 'evidence that was kept when the file was mended or restored'
      const mend = 'Look whether you miss something that is in it, then remove it.'
      findings.push(finding('kept-aside', message, mend, { file }))
    }
  }
  return findings
}

/** NeDB's name, lowdb's, and ours: of a replacement, and of a dump. */
function isTemp(name: string, other: string): boolean {
  if (other === `${name}~` || other === `.${name}.tmp`) return true
  return other.startsWith(`.${name}.`) && /^([0-9a-f]{8}\.)?pslock\.tmp$/.test(other.slice(name.length + 2))
}

function isAside(name: string, other: string): boolean {
  const rest = other.startsWith(`${name}.`) ? other.slice(name.length + 1) : ''
  // Of its journal, too.
  const [, kind] = /^(?:journal\.)?(.+)-\d+$/.exec(rest) ?? []
  return ASIDE.some((each) => each === kind)
}

function isInUse(file: string): boolean {
  try {
    const fd = openFile(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    try {
      return !tryFlock(fd, 'shared', file)
    } finally {
      closeLocked(fd, file)
    }
  } catch (error) {
    // It is gone: somebody finished.
    if (errnoOf(error) === 'ENOENT') return true
    // A link, a socket, or another user's: no writer of ours has it.
    if (['ELOOP', 'ENXIO', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return false
    throw error
  }
}
