import { type Low, LowSync } from 'lowdb'
import { requireFunction, show } from '../../src/arguments.ts'
import { type OpenedTree, openTree } from '../../src/open.ts'
import type { BlockingTreeSession, TreeAdapter, TreeMemory, TreeSession } from '../../src/store/adapter.ts'
import type { TreeOptions } from '../../src/store/options.ts'
import { JSON_FORMAT } from './format.ts'
import { isUrl, JSONFile, JSONFileSync, pathOf } from './json-file.ts'
import { lowdbRows } from './rows.ts'

export type AnyLow = Low<unknown> | LowSync<unknown>

// biome-ignore-start lint/suspicious/noExplicitAny: a store of whatever data, which would else be of no other type than itself
/** Either of the two classes. */
export type LowdbAdapter = TreeAdapter<Low<any>, LowReads> & TreeAdapter<LowSync<any>, LowReads>
// biome-ignore-end lint/suspicious/noExplicitAny: as above

/** What only looks at the store. */
export type LowReads = 'data' | 'read'

/** `lowdb`: one JSON tree, `db.data`, that its users edit directly. */
const adapter: TreeAdapter<AnyLow, LowReads> = {
  family: 'tree',
  name: 'lowdb',
  memory: ({ data }) => ({
    get: () => data,
    set: (tree) => {
      data = tree
    },
  }),
  format: ({ adapter }) =>
    adapter instanceof JSONFile || adapter instanceof JSONFileSync
      ? JSON_FORMAT
      : { ...JSON_FORMAT, io: adapter },
  rows: lowdbRows,
  withMemory: (low, memory) => onDraft(low, memory),
  attach(low, session) {
    followDraft(low, session)
    const calls = low instanceof LowSync ? syncCalls(session) : asyncCalls(session)
    for (const [name, value] of Object.entries(calls))
      Object.defineProperty(low, name, { value, configurable: true })
  },
}

export const lowdbAdapter: LowdbAdapter = adapter as LowdbAdapter

/** `db.data` inside an update or a transaction is what that one works on: code under it need not know. */
function followDraft(low: AnyLow, session: TreeSession): void {
  Object.defineProperty(low, 'data', {
    get: () => session.memory.get(),
    set: (tree: unknown) => session.memory.set(tree),
    enumerable: true,
    configurable: true,
  })
}

/** The store with another `data`. Methods are called on the real one, which has private fields. */
function onDraft<L extends AnyLow>(low: L, memory: TreeMemory): L {
  return new Proxy(low, {
    get(target, key) {
      if (key === 'data') return memory.get()
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' && key !== 'constructor' ? value.bind(target) : value
    },
    set(target, key, value) {
      if (key === 'data') memory.set(value)
      else Reflect.set(target, key, value, target)
      return true
    },
  })
}

export type Edit = (data: unknown) => unknown

function asyncCalls(session: TreeSession): Pick<Low<unknown>, 'read' | 'write' | 'update'> {
  return {
    read: () => session.read(),
    write: () => session.write(),
    update: async (edit: Edit) => session.update(edit),
  }
}

function syncCalls({ blocking }: TreeSession): Pick<LowSync<unknown>, 'read' | 'write' | 'update'> {
  return {
    read: () => blocking.read(),
    write: () => blocking.write(),
    update: (edit: Edit) => updateSync(blocking, edit),
  }
}

export function updateSync(blocking: BlockingTreeSession, edit: Edit): void {
  requireFunction(edit, 'update(fn): fn')
  blocking.edit((memory) => edit(memory.get()), {}, { name: 'update', args: [edit] })
}

/** lowdb's adapter with the path of its file, which the lock needs. */
export type WithPath<A> = A & { readonly path?: string | undefined }

export function isPath(target: unknown): target is string | URL {
  return typeof target === 'string' || isUrl(target)
}

export function openLow(
  low: AnyLow,
  InMemory: new () => object,
  options: TreeOptions,
): OpenedTree | undefined {
  const { adapter: own } = low
  if (own instanceof InMemory) return undefined
  const path: unknown = 'path' in own ? own.path : undefined
  if (typeof path !== 'string' && !isUrl(path)) {
    throw new TypeError(
      `a locked lowdb store must know its file: pass a path, or an adapter with a path property such as the JSONFile of ` +
        `'pslock/lowdb' (lowdb's own hides it). Got ${show(own)}`,
    )
  }
  return openTree(low, { ...adapter, attach: followDraft }, pathOf(path), options)
}
