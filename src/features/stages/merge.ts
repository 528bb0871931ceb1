import type { StageConflict } from '../../errors.ts'
import { merge } from '../../store/json/merge.ts'
import { cloneTree, equalTrees } from '../../store/json/values.ts'
import type { Edits } from './edits.ts'
import {
  type Change,
  hasPlace,
  keyOf,
  type Path,
  placeOf,
  putAt,
  type Root,
  recordsOf,
  valueAt,
} from './tree.ts'

/** What becomes of a conflict. */
export type Resolution = 'mine' | 'theirs' | { readonly value: unknown }

/** Asked for each conflict; undefined: it is not resolved. */
export type Resolve = (conflict: StageConflict) => Resolution | undefined

/** What is known of the values that it works on. */
export interface Values {
  /** As the user gave it, and the other way round. */
  encode(value: unknown): unknown
  decode(value: unknown): unknown
  /** Whether it is the version of a table's record, which counts what was done to it. */
  isVersion(root: Root, path: Path): boolean
}

export interface Merged {
  /** Those that are not resolved. */
  readonly conflicts: readonly StageConflict[]
  /** What they, and those that are resolved, are about. */
  readonly disputed: readonly Change[]
}

/**
 * Makes changes on the present state. What others have changed elsewhere stays; what both have changed is a conflict, even
 * where both came to the same value, unless both have only added to a list, or removed the same.
 * @param root is changed in place. Where a conflict is not resolved it gets what is mine
 */
export function mergeInto(root: Root, edits: Edits, values: Values, resolve?: Resolve): Merged {
  const conflicts: StageConflict[] = []
  const disputed: Change[] = []
  const settled = new Set<string>()
  // Each change is compared with what others have, not with what an earlier one has made of it.
  const puts: Parameters<typeof putAt>[] = []
  for (const change of edits.changes.values()) {
    const { path } = change
    if (recordsOf(path).some((record) => settled.has(keyOf(record)))) continue
    const whole = lostRecord(root, edits, change)
    if (whole) settled.add(keyOf(whole.path))
    const { base, mine, behind } = whole ?? change
    const at = whole?.path ?? path
    const theirs = valueAt(root, at)
    if (!whole && theirs !== base && values.isVersion(root, path)) {
      puts.push([root, path, Number(theirs) + 1])
      continue
    }
    const merged =
      whole || !hasPlace(valueAt(root, path.slice(0, -1)), path.at(-1))
        ? undefined
        : mergedValue(base, mine, theirs)
    if (merged) {
      puts.push([root, path, cloneTree(merged.value), behind])
      continue
    }
    disputed.push(whole ?? change)
    const conflict = conflictOf(at, base, mine, theirs, values)
    const resolution = resolve?.(conflict)
    if (resolution === undefined) conflicts.push(conflict)
    if (resolution === 'theirs') continue
    const value = typeof resolution === 'object' ? values.encode(resolution.value) : cloneTree(mine)
    puts.push([root, at, value, behind])
  }
  for (const put of puts) putAt(...put)
  return { conflicts, disputed }
}

/** What a value becomes; undefined: it is a conflict. */
function mergedValue(base: unknown, mine: unknown, theirs: unknown): { readonly value: unknown } | undefined {
  if (equalTrees(theirs, base)) return { value: mine }
  if (theirs === undefined && mine === undefined) return { value: undefined }
  if (!Array.isArray(base) || !Array.isArray(mine) || !Array.isArray(theirs)) return undefined
  const result = merge(base, mine, theirs)
  return 'merged' in result ? { value: result.merged } : undefined
}

/** Others have removed a record that a change is in: it is one conflict, about all of the outermost such record. */
function lostRecord(root: Root, edits: Edits, { path }: Change): Change | undefined {
  const record = recordsOf(path).find((record) => valueAt(root, record) === undefined)
  const base = record && edits.records.get(keyOf(record))
  if (!record || base === undefined) return undefined
  const mine = cloneTree(base)
  for (const part of edits.below(record)) {
    // It may have been added later than this record was seen.
    for (const inner of recordsOf(part.path).filter(({ length }) => length > record.length)) {
      const at = inner.slice(record.length)
      if (valueAt(mine, at) === undefined) putAt(mine, at, cloneTree(edits.records.get(keyOf(inner))))
    }
    putAt(mine, part.path.slice(record.length), part.mine, part.behind)
  }
  return { path: record, base, mine }
}

function conflictOf(
  path: Path,
  base: unknown,
  mine: unknown,
  theirs: unknown,
  { decode }: Values,
): StageConflict {
  return { ...placeOf(path), base: decode(base), mine: decode(mine), theirs: decode(theirs) }
}
