import type { LockedLow } from '../../../adapters/lowdb.ts'
import { source } from '../runs.ts'

export type Tree = Record<string, unknown>

/** One change of a tree, as plain data. */
export type Op =
  | readonly ['set', readonly string[], unknown]
  | readonly ['delete', readonly string[]]
  | readonly ['push', readonly string[], unknown]

/** One call, or a bare edit of `db.data`. */
export type Step =
  | readonly ['edit', Op]
  | readonly ['write']
  | readonly ['read']
  | readonly ['update', readonly Op[], 'commit' | 'throw']
  | readonly [
      'transaction',
      readonly (Op | readonly ['savepoint', readonly Op[], 'commit' | 'throw'])[],
      'commit' | 'throw',
    ]
  | readonly ['view']
  | readonly ['reopen']
  | readonly ['dump']
  | readonly ['restore']

/** Applies a change where its path leads somewhere; else it does nothing. */
export function applyOp(tree: Tree, [kind, path, value]: Op): void {
  let container: unknown = tree
  for (const key of path.slice(0, -1)) container = own(container, key)
  const last = path.at(-1) as string
  if (kind === 'push') {
    const list = own(container, last)
    if (Array.isArray(list)) list.push(structuredClone(value))
  } else if (typeof container === 'object' && container !== null && !Array.isArray(container)) {
    if (kind === 'delete') delete (container as Tree)[last]
    else Object.defineProperty(container, last, property(structuredClone(value)))
  }
}

function own(container: unknown, key: string): unknown {
  return typeof container === 'object' && container !== null && Object.hasOwn(container, key)
    ? (container as Tree)[key]
    : undefined
}

/** Also for a name like `__proto__`. */
function property(value: unknown): PropertyDescriptor {
  return { value, writable: true, enumerable: true, configurable: true }
}

class Undone extends Error {}

/** Performs a step that one store object can do. @returns what is seen, of a view */
export async function perform(db: LockedLow<Tree>, step: Step): Promise<unknown> {
  switch (step[0]) {
    case 'edit':
      applyOp(db.data, step[1])
      return
    case 'write':
      return db.write()
    case 'read':
      return db.read()
    case 'update':
      return undoable(step[2], (end) =>
        db.update(async (data) => {
          for (const op of step[1]) applyOp(data, op)
          await end()
        }),
      )
    case 'transaction':
      return undoable(step[2], (end) =>
        db.transaction(async (tx) => {
          for (const part of step[1]) {
            if (part[0] !== 'savepoint') applyOp(tx.data, part)
            else {
              await undoable(part[2], (endInner) =>
                tx.transaction(async (inner) => {
                  for (const op of part[1]) applyOp(inner.data, op)
                  await endInner()
                }),
              )
            }
          }
          await end()
        }),
      )
    case 'view':
      return db.view((tx) => JSON.parse(JSON.stringify(tx.data)) as unknown)
    default:
      throw new Error(`${step[0]} needs more than a store object`)
  }
}

async function undoable(
  end: 'commit' | 'throw',
  run: (end: () => Promise<void>) => Promise<void>,
): Promise<void> {
  try {
    await run(async () => {
      if (end === 'throw') throw new Undone()
    })
  } catch (error) {
    if (!(error instanceof Undone)) throw error
  }
}

export function statement(step: Step, db = 'db'): string {
  const [name, ...args] = step
  const ops = (list: readonly Op[], tree: string) => list.map((op) => `  ${opText(op, tree)}`)
  const thrown = (end: unknown) => (end === 'throw' ? ["  throw new Error('undone')"] : [])
  switch (name) {
    case 'edit':
      return opText(args[0] as Op, `${db}.data`)
    case 'update':
      return [
        `await ${db}.update((data) => {`,
        ...ops(args[0] as Op[], 'data'),
        ...thrown(args[1]),
        '}).catch(console.log)',
      ].join('\n')
    case 'transaction': {
      const parts = (args[0] as Extract<Step, readonly ['transaction', ...unknown[]]>[1]).flatMap((part) =>
        part[0] === 'savepoint'
          ? [
              '  await tx.transaction((tx) => {',
              ...ops(part[1], 'tx.data'),
              ...thrown(part[2]),
              '  }).catch(console.log)',
            ]
          : ops([part], 'tx.data'),
      )
      return [
        `await ${db}.transaction(async (tx) => {`,
        ...parts,
        ...thrown(args[1]),
        '}).catch(console.log)',
      ].join('\n')
    }
    case 'view':
      return `console.log(await ${db}.view((tx) => tx.data))`
    case 'reopen':
      return `await ${db}.close(); ${db} = await open()`
    case 'dump':
      return `await ${db}.dump(path + '.dump', { overwrite: true })`
    case 'restore':
      return `await ${db}.restore(path + '.dump')`
    default:
      return `await ${db}.${name}()`
  }
}

function opText([kind, path, value]: Op, tree: string): string {
  const at = path.map((key) => `[${JSON.stringify(key)}]`).join('')
  if (kind === 'delete') return `delete ${tree}${at}`
  return kind === 'push' ? `${tree}${at}?.push(${source(value)})` : `${tree}${at} = ${source(value)}`
}
