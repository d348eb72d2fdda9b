import groovy.transform.CompileStatic

import ij.CommandListener
import ij.Executer
import ij.IJ
import ij.ImageListener
import ij.ImagePlus
import ij.macro.Interpreter

import java.awt.GraphicsEnvironment
import java.util.concurrent.Executors
import java.util.concurrent.Future
import java.util.concurrent.RejectedExecutionException
import java.util.concurrent.ScheduledExecutorService
import java.util.concurrent.ThreadFactory
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException
import java.util.concurrent.atomic.AtomicBoolean
import java.util.function.BooleanSupplier

/** Sees what a person changes in the ROI Manager between commands: what nobody notes is lost when Fiji ends. */
@CompileStatic
class Watch implements Runnable, Closeable, CommandListener, ImageListener {

    private static final int WATCH_MS = 2000
    private static final int PAUSE_MS = 120000  // at most, after looks that failed
    private static final int QUIT_MS = 1500

    private final BooleanSupplier busy
    private final Closure<Object> glance
    private final Closure<String> look
    private final AtomicBoolean started = new AtomicBoolean()
    private final ScheduledExecutorService thread = Executors.newSingleThreadScheduledExecutor({ Runnable work ->
        Thread made = new Thread(work, "StormSeg watch")
        made.setDaemon(true)
        return made
    } as ThreadFactory)
    private volatile Object seen
    private volatile long due
    private long pause = WATCH_MS
    private String complaint

    /**
     * @param busy tells that it is not the time for a look
     * @param glance gives something that is another thing after a change
     * @param look notes the changes; gives what it failed with, null where it was not the time all the same
     */
    Watch(BooleanSupplier busy, Closure<Object> glance, Closure<String> look) {
        this.busy = busy
        this.glance = glance
        this.look = look
    }

    /** Watches from now on. */
    void start() {
        if (!GraphicsEnvironment.isHeadless() && !thread.isShutdown() && started.compareAndSet(false, true)) {
            thread.scheduleWithFixedDelay(this, WATCH_MS, WATCH_MS, TimeUnit.MILLISECONDS)
            Executer.addCommandListener(this)
            ImagePlus.addImageListener(this)
        }
    }

    /** Looks the next time even if nothing seems to have changed. */
    void again() {
        seen = null
        due = 0
    }

    /** Watches no more; a look that goes on comes to its end. */
    @Override
    void close() {
        thread.shutdown()
        Executer.removeCommandListener(this)
        ImagePlus.removeImageListener(this)
    }

    /** Looks where something has changed; after a failure it waits, longer each time. */
    @Override
    void run() {
        try {
            if (IJ.getInstance() == null || Interpreter.isBatchMode() || busy.getAsBoolean() ||
                System.currentTimeMillis() < due) {
                return
            }
            Object now = glance.call()
            if (now != seen) {
                seen = now  // before the look: a command may want another one meanwhile
                String failure = look.call()
                if (failure == "") {
                    pause = WATCH_MS
                } else {
                    seen = null
                    complain(failure)
                }
            }
        } catch (Throwable failed) {  // it would end the watch without a word
            seen = null
            complain(failed.toString())
        }
    }

    private void complain(String failure) {
        if (failure == null || thread.isShutdown()) {
            return
        }
        pause = Math.min(2 * pause, PAUSE_MS)
        due = System.currentTimeMillis() + pause
        if (failure != complaint) {
            complaint = failure
            IJ.log("StormSeg could not look for changes: " + failure + "; it tries again")
        }
    }

    /**
     * Looks before ImageJ ends, and waits for that. In another thread, and not for long: ImageJ holds a lock meanwhile,
     * for which the thread that paints may wait, and that one reads the list.
     */
    @Override
    String commandExecuting(String command) {
        if (command == "Quit") {
            due = 0
            Future<?> looking = soon()
            try {
                Worker.unbroken { looking?.get(QUIT_MS, TimeUnit.MILLISECONDS) }
            } catch (TimeoutException late) {
                return command
            }
        }
        return command
    }

    /** Looks soon: ImageJ waits for this thread. */
    @Override
    void imageClosed(ImagePlus imp) {
        soon()
    }

    @Override
    void imageOpened(ImagePlus imp) {
    }

    @Override
    void imageUpdated(ImagePlus imp) {
    }

    private Future<?> soon() {
        try {
            return thread.submit((Runnable) this)
        } catch (RejectedExecutionException closed) {
            return null
        }
    }
}
