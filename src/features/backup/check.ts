import { renameSync } from 'node:fs'
import { CorruptStoreError } from '../../errors.ts'
import { keepAside } from '../../os/replace.ts'
import { allOf, readSnapshot, type Source, Spliced } from '../../store/snapshot.ts'
import type { FileFormat } from './file-format.ts'
import { type Finding, findingText, isDamage } from './finding.ts'
import { leftoversOf } from './leftovers.ts'
import { replaceContent, type StoreFile, shared } from './store-file.ts'

/** What mending took off the file: it may show damage that the first one hid. */
const ROUNDS = 5

/** Looks whether a data file is whole, and what lies beside it; changes nothing. @throws StoreIoError */
export async function check({ path, lock, format }: StoreFile): Promise<Finding[]> {
  const [read, beside, leftovers] = await shared(
    lock,
    async () =>
      [
        await readSnapshot(path, format.endOf),
        (await format.beside?.(path)) ?? [],
        leftoversOf(path),
      ] as const,
  )
  using content = read
  const { findings } = await format.inspect(content.source)
  return [...findings, ...beside, ...leftovers]
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
    const inspection = await format.inspect(content)
    const { findings } = inspection
    if (findings.length === 0) return { findings: all, content, removed }
    if (!inspection.content || round > ROUNDS) throw hopeless(path, format.name, findings[0])
    all = [...all, ...findings]
    removed.add(inspection.removed)
    content = inspection.content
  }
}

/** The name stands for it before the leftover is moved there: nothing of that name is replaced. */
function putAside(path: string, leftover: string): string {
  const name = keepAside(path, 'removed', Buffer.alloc(0))
  renameSync(leftover, name)
  return name
}

function hopeless(path: string, format: string, finding: Finding | undefined): CorruptStoreError {
  const [why, mend] = finding ? [findingText(finding), finding.mend] : ['it is damaged', '']
  return new CorruptStoreError(
    `${path} cannot be made a whole ${format} file again: ${why}. ${mend} Nothing was changed.`,
    { path },
  )
}
