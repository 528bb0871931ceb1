import type { DocumentId, StagedDocument, Staging } from '../../store/adapter.ts'
import { cloneTree, equalTrees, getOwn, type Id, isObject } from '../../store/json/values.ts'
import { MARKS } from '../../store/marks.ts'
import type { Edits } from './edits.ts'
import { type Merged, mergeInto, type Resolve, type Values } from './merge.ts'
import { type Path, type Root, valueAt } from './tree.ts'
import { decode, encode, encodeJson } from './values.ts'

/** The part of a store that edits are about: its documents of some ids, or its one tree. */
export class Subject<S> {
  readonly #staging: Staging<S>
  readonly values: Values

  /** @param isTable whether the store has such a table */
  constructor(staging: Staging<S>, isTable: (name: string) => boolean) {
    this.#staging = staging
    const isTree = staging.kind === 'tree'
    this.values = {
      encode: isTree ? encodeJson : encode,
      decode: isTree ? cloneTree : decode,
      isVersion: (root, path) => isVersion(root, path) && tablesOf([path], root).some(isTable),
    }
  }

  /** What the store has now, without the marks: they belong to other stages, and no edit may take them away. */
  async read(tx: S, ids: Iterable<Id>): Promise<Root> {
    const staging = this.#staging
    if (staging.kind === 'tree') {
      const data = encodeJson(staging.read(tx))
      if (isObject(data)) delete data[MARKS]
      return { data }
    }
    const own = staging.ownFields(tx)
    const documents = await staging.read(tx, [...ids])
    return new Map(
      documents
        .filter(({ _table }) => _table !== MARKS)
        .map((document) => {
          const encoded = encode(document) as Record<string, unknown>
          for (const name of own) delete encoded[name]
          return [document._id as DocumentId, encoded]
        }),
    )
  }

  /** In a transaction: makes the edits on what the store has. What is in conflict and not resolved gets what is mine */
  async apply(tx: S, edits: Edits, resolve?: Resolve): Promise<Applied> {
    const theirs = await this.read(tx, idsOf(edits.paths))
    const root = theirs instanceof Map ? new Map(cloneTree([...theirs])) : cloneTree(theirs)
    const merged = mergeInto(root, edits, this.values, resolve)
    await this.#write(tx, theirs, root)
    return { theirs, ...merged }
  }

  async #write(tx: S, theirs: Root, root: Root): Promise<void> {
    const staging = this.#staging
    if (staging.kind === 'tree') {
      if (equalTrees(theirs, root)) return
      const tree = cloneTree((root as { data?: unknown }).data)
      const present = staging.read(tx)
      const marks = isObject(present) ? getOwn(present, MARKS) : undefined
      if (marks !== undefined && isObject(tree)) tree[MARKS] = cloneTree(marks)
      await staging.write(tx, tree)
      return
    }
    const [before, after] = [theirs as Map<Id, unknown>, root as Map<Id, unknown>]
    const documents: StagedDocument[] = []
    for (const id of new Set([...before.keys(), ...after.keys()])) {
      const [old, next] = [before.get(id), after.get(id)]
      if (equalTrees(old, next)) continue
      documents.push({
        id,
        before: decode(old) as StagedDocument['before'],
        after: decode(next) as StagedDocument['after'],
      })
    }
    if (documents.length > 0) await staging.write(tx, documents)
  }

  /** Runs an edit. @returns the ids of what it may have changed */
  async changed(tx: S, run: () => Promise<void>): Promise<DocumentId[]> {
    const staging = this.#staging
    if (staging.kind === 'documents') return [...(await staging.changed(tx, run))]
    await run()
    return []
  }
}

/** What edits made of the store. */
export interface Applied extends Merged {
  readonly theirs: Root
}

export function idsOf(paths: readonly Path[]): Id[] {
  return paths.flatMap(([step]) => (typeof step === 'object' ? [step.id] : []))
}

/** Of what paths are in, if it is a table. In NeDB a document names it; in lowdb it is a list in the tree. */
export function tablesOf(paths: readonly Path[], root: Root): string[] {
  const names = paths.map((path) =>
    root instanceof Map ? valueAt(root, [...path.slice(0, 1), '_table']) : path[1],
  )
  return names.filter((name) => typeof name === 'string')
}

function isVersion(root: Root, path: Path): boolean {
  return (
    path.length === (root instanceof Map ? 2 : 4) &&
    path.at(-1) === '_version' &&
    Number.isInteger(valueAt(root, path))
  )
}
