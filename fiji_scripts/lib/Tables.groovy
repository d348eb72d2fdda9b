import groovy.transform.CompileStatic

import ij.IJ
import ij.ImagePlus
import ij.ImageStack
import ij.gui.Roi
import ij.measure.Measurements
import ij.measure.ResultsTable
import ij.plugin.filter.Analyzer
import ij.process.ImageProcessor

import java.awt.GraphicsEnvironment
import java.util.concurrent.CancellationException

/** ImageJ's tables: its own Measure into Results, and rows for tables of ours. As stormseg_ij/bridge/tables.py. */
@CompileStatic
class Tables {

    private static final String RESULTS = "Results"
    private static final int ROWS_WITH_DIGITS = 24
    private static final int SUMMARY_ROWS = 4  // Mean, SD, Min, Max, of Analyze > Summarize
    private static final int PROGRESS_EVERY = 50

    private final Desk desk
    private final Rois rois

    Tables(Desk desk, Rois rois) {
        this.desk = desk
        this.rois = rois
    }

    /**
     * Adds a row to Results for each ROI, as the ROI Manager's Measure does, with further columns.
     *
     * The image keeps its selection, its shown plane and all else. What is thrown leaves Results as it was.
     *
     * @param with image: its number; wanted: maps of roi (the identity of an entry in the ROI Manager, which has all
     *        digits of what a person drew, or a .roi file in base64), plane (from 1) and extra (further columns of the
     *        row: text, number, or null for none)
     * @param stopped asked before each ROI; true ends the measurement
     * @return rows of Results now
     */
    Object measure(Map with, Closure<Boolean> stopped) {
        ImagePlus imp = desk.imageOf(((Number) with.get("image")).intValue())
        List<Map> wanted = (List<Map>) with.get("wanted")
        Map<Long, Roi> listed = rois.listed()
        List<Roi> copies = wanted.collect { Map one -> copy(one.get("roi"), listed) }
        List<Integer> planes = wanted.collect { Map one -> ((Number) one.get("plane")).intValue() }
        ResultsTable rows = measured(imp, copies, planes, stopped)
        stop(stopped)
        return show(rows, wanted.collect { Map one -> (Map<String, Object>) (one.get("extra") ?: [:]) })
    }

    /**
     * Adds rows at the end of the table with this title, which is opened if it is not there.
     *
     * @param with title (without a window ImageJ knows one table only: the rows go into Results); rows: maps of values
     *        by column, null for an empty one
     */
    Object addRows(Map with) {
        String title = GraphicsEnvironment.isHeadless() ? RESULTS : with.get("title").toString()
        ResultsTable table = title == RESULTS ? ResultsTable.getResultsTable() : ResultsTable.getResultsTable(title)
        if (table == null) {
            table = new ResultsTable()
            table.showRowNumbers(true)
        }
        for (Map<String, Object> row : (List<Map<String, Object>>) with.get("rows")) {
            table.incrementCounter()
            for (Map.Entry<String, Object> cell : row.entrySet()) {
                if (isText(cell.value)) {
                    table.addValue(cell.key, cell.value.toString())
                } else {
                    table.addValue(cell.key, number(cell.value))
                }
            }
        }
        table.show(title)
        return null
    }

    // ---- what is measured, and on which image

    /** A ROI of its own: measuring ties it to an image. A clone, because the bytes of a file would lose digits. */
    private static Roi copy(Object source, Map<Long, Roi> listed) {
        if (source instanceof Number) {
            Roi roi = listed.get(((Number) source).longValue())
            if (roi == null) {
                throw new IllegalStateException("the ROI Manager was changed meanwhile; start again")
            }
            return (Roi) roi.clone()
        }
        return Rois.decoded(source.toString())
    }

    /**
     * Measures by ImageJ's own Analyzer what Set Measurements asks for, into a table that nobody sees.
     *
     * An image in no window shares the pixels, calibration and threshold of the shown one, so that that one keeps
     * everything. Only "Redirect to" makes ImageJ look at a third image, which gets its plane back.
     */
    private static ResultsTable measured(
        ImagePlus imp, List<Roi> copies, List<Integer> planes, Closure<Boolean> stopped
    ) {
        int asked = Analyzer.getMeasurements()
        ImagePlus hidden = twin(imp)
        Place place = (asked & Measurements.STACK_POSITION) != 0 ? new Place(imp) : null
        ImagePlus redirected = redirected(hidden)
        int shown = redirected == null ? 0 : redirected.getCurrentSlice()
        // What Analyzer would do with them goes by the image's window, or belongs to Measure in the menu.
        asked &= ~(Measurements.STACK_POSITION | Measurements.ADD_TO_OVERLAY)
        ResultsTable rows = new ResultsTable()
        for (int i = 0; i < Measurements.MAX_STANDARDS; i++) {  // of so many rows Analyze > Calibrate takes the means
            rows.incrementCounter()
        }
        Analyzer analyzer = new Analyzer(hidden, asked, rows)
        analyzer.disableReset(true)  // or it might clear Results
        double low = imp.getProcessor().getMinThreshold()
        double high = imp.getProcessor().getMaxThreshold()
        int plane = 0
        try {
            for (int i = 0; i < copies.size(); i++) {
                stop(stopped)
                if (i % PROGRESS_EVERY == 0) {
                    IJ.showProgress(i / (double) copies.size())
                }
                if (planes.get(i) != plane) {
                    plane = planes.get(i)
                    hidden.setSlice(plane)
                    if (low != ImageProcessor.NO_THRESHOLD) {
                        hidden.getProcessor().setThreshold(low, high, ImageProcessor.NO_LUT_UPDATE)
                    }
                }
                hidden.setRoi(copies.get(i), false)
                analyzer.measure()
                place?.add(rows, plane)
            }
        } finally {
            redirected?.setSlice(shown)
        }
        return rows
    }

    /** Ends the measurement where the person wants it. */
    private static void stop(Closure<Boolean> stopped) {
        if (stopped.call()) {
            throw new CancellationException("stopped by Escape")
        }
    }

    /** An image of the same pixels that is in no window and in no list. */
    private static ImagePlus twin(ImagePlus imp) {
        int count = imp.getStackSize()
        ImageStack stack = count > 1 ? imp.getStack() : new ImageStack(imp.getWidth(), imp.getHeight())
        if (count == 1) {
            stack.addSlice((String) null, imp.getProcessor().getPixels())
        } else if (!stack.isVirtual()) {
            // A stack of its own, for an ImagePlus writes into its stack when it changes the plane. The shown plane's
            // pixels are those of the processor: a filter may have replaced them.
            ImageStack own = new ImageStack(imp.getWidth(), imp.getHeight())
            int shown = imp.getCurrentSlice()
            for (int plane = 1; plane <= count; plane++) {
                Object pixels = plane == shown ? imp.getProcessor().getPixels() : stack.getPixels(plane)
                own.addSlice(stack.getSliceLabel(plane), pixels)
            }
            stack = own
        }
        ImagePlus hidden = new ImagePlus(imp.getTitle(), stack)
        hidden.setIgnoreGlobalCalibration(true)
        hidden.setCalibration(imp.getCalibration())
        return hidden
    }

    /** The image of "Redirect to"; null where nothing is redirected. */
    private static ImagePlus redirected(ImagePlus hidden) {
        if (!Analyzer.isRedirectImage()) {
            return null
        }
        ImagePlus other = Analyzer.getRedirectImage(hidden)
        if (other == null) {
            throw new IllegalStateException(
                hidden.getTitle() + " is not measured: the image to redirect to is missing or has another size; " +
                "choose another, or None, under \"Redirect to\" in Analyze > Set Measurements")
        }
        return other
    }

    // ---- Results

    /** Adds measured rows at the end of Results, with further columns for each, and shows the table. */
    private static int show(ResultsTable rows, List<Map<String, Object>> extra) {
        new Analyzer()  // gives the table the digits that Set Measurements asks for
        ResultsTable table = Analyzer.getResultsTable()
        removeSummary(table)
        int first = table.size()
        if (first == 0 && table.getColumnHeading(ResultsTable.LAST_HEADING) == null) {
            table.setDefaultHeadings()
        }
        int skip = Measurements.MAX_STANDARDS
        boolean labelled = rows.size() > skip && rows.getLabel(skip) != null
        for (String heading : (rows.getHeadings() as List<String>).drop(labelled ? 1 : 0)) {
            extend(table, heading, first, Column.of(rows, heading, skip), false)
        }
        Set<String> further = new LinkedHashSet<String>()
        for (Map<String, Object> one : extra) {
            further.addAll(one.keySet())
        }
        for (String heading : further) {
            extend(table, heading, first, Column.of(extra, heading), true)
        }
        for (int i = 0; labelled && i < extra.size(); i++) {
            table.setLabel(rows.getLabel(skip + i), first + i)
        }
        table.show(RESULTS)
        return table.size()
    }

    /** Takes the rows of Analyze > Summarize out, as Measure does. */
    private static void removeSummary(ResultsTable table) {
        int last = table.size() - 1
        if (last + 1 >= SUMMARY_ROWS && table.getLabel(last) == "Max") {
            table.deleteRows(last + 1 - SUMMARY_ROWS, last)
        }
    }

    /** Adds values to a column of Results from row `first` on; `own` columns are none of Set Measurements'. */
    private static void extend(ResultsTable table, String heading, int first, Column added, boolean own) {
        double[] column = new double[first + added.values.length]
        if (table.columnExists(heading)) {
            System.arraycopy(table.getColumn(heading), 0, column, 0, first)
        } else {
            boolean empty = own || (Analyzer.getMeasurements() & Measurements.NaN_EMPTY_CELLS) != 0
            Arrays.fill(column, 0, first, empty ? Double.NaN : 0.0d)
        }
        System.arraycopy(added.values, 0, column, first, added.values.length)
        table.setValues(heading, column)
        boolean whole = true
        for (int i = 0; i < Math.min(ROWS_WITH_DIGITS, column.length); i++) {
            whole &= column[i] == Math.rint(column[i]) || Double.isNaN(column[i])
        }
        if (whole) {  // ImageJ chooses a column's digits by its first rows
            table.setDecimalPlaces(table.getColumnIndex(heading), ResultsTable.AUTO_FORMAT)
        }
        for (Map.Entry<Integer, String> text : added.texts.entrySet()) {
            table.setValue(heading, first + text.key, text.value)
        }
        int last = added.values.length - 1
        if (last >= 0 && !(heading in (ResultsTable.getDefaultHeadings() as List<String>))) {
            // Columns that were added by name stay where Set Measurements asks for other ones.
            if (added.texts.containsKey(last)) {
                table.addValue(heading, added.texts.get(last))
            } else {
                table.addValue(heading, added.values[last])
            }
        }
    }

    /** Tells what a cell holds: JSON gives Strings, Groovy may give its own kind. */
    static boolean isText(Object value) {
        return value instanceof CharSequence
    }

    /** The number of a cell: JSON has no NaN, so that null stands for it. */
    static double number(Object value) {
        return value == null ? Double.NaN : ((Number) value).doubleValue()
    }

    /** The columns of "Stack position", by the shown image: its twin knows no channels. */
    @CompileStatic
    private static class Place {

        private static final List<String> HEADINGS = ["Ch", "Slice", "Frame"]

        private final ImagePlus imp
        private final boolean hyper
        private final int[] sizes

        Place(ImagePlus imp) {
            this.imp = imp
            hyper = imp.isHyperStack() || imp.isComposite()
            sizes = [imp.getNChannels(), imp.getNSlices(), imp.getNFrames()] as int[]
        }

        /** Adds the place of a plane to the last row. */
        void add(ResultsTable rows, int plane) {
            if (!hyper) {
                rows.addValue("Slice", (double) plane)
                return
            }
            int[] position = imp.convertIndexToPosition(plane)
            for (int i = 0; i < 3; i++) {
                if (sizes[i] > 1) {
                    rows.addValue(HEADINGS.get(i), (double) position[i])
                }
            }
        }
    }

    /** The numbers of a column, and its texts by row. */
    @CompileStatic
    private static class Column {

        final double[] values
        final Map<Integer, String> texts = new LinkedHashMap<Integer, String>()

        private Column(double[] values) {
            this.values = values
        }

        /** A column that was measured, from row `skip` on. */
        static Column of(ResultsTable rows, String heading, int skip) {
            int index = rows.getColumnIndex(heading)
            double[] all = rows.getColumnAsDoubles(index)
            Column made = new Column(Arrays.copyOfRange(all, skip, all.length))
            for (int i = 0; i < made.values.length; i++) {
                if (Double.isNaN(made.values[i])) {
                    String text = rows.getStringValue(index, skip + i)
                    if (text != "NaN") {
                        made.texts.put(i, text)
                    }
                }
            }
            return made
        }

        /** A further column; a row that has nothing for it gets NaN. */
        static Column of(List<Map<String, Object>> extra, String heading) {
            double[] values = new double[extra.size()]
            Column made = new Column(values)
            for (int i = 0; i < values.length; i++) {
                Object value = extra.get(i).get(heading)
                if (isText(value)) {
                    values[i] = Double.NaN
                    made.texts.put(i, value.toString())
                } else {
                    values[i] = number(value)
                }
            }
            return made
        }
    }
}
