import workerThreads from 'node:worker_threads'
import type { Release } from './candidate.ts'

interface LockManager {
  request(name: string, options: { signal?: AbortSignal }, run: () => Promise<void>): Promise<void>
}

// Newer than the types of the oldest Node that pslock runs on.
const { locks } = workerThreads as unknown as { locks?: LockManager }
if (!locks) throw new Error(`Node ${process.version} has no Web Locks (24.5 and later have)`)
const manager = locks

/** Node's own, between the threads of one process: other processes are not kept out. */
export function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  return new Promise((resolve, reject) => {
    const run = () => new Promise<void>((release) => resolve(release))
    manager.request(path, signal ? { signal } : {}, run).catch(reject)
  })
}
